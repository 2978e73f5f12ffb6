// Defaults of the target interface. See target.h.
#include "engine/target.h"

#include "pajamas/error.h"

namespace pajamas {

nlohmann::json Session::layer_times() {
  throw Error(ErrorKind::kUnsupported, "this target does not tell what each layer takes", "--layers",
              "build the model with --target cuda");
}

}  // namespace pajamas
