// Version of this program. See version.h.
#include "toolchain/version.h"

namespace pajamas {

const char* program_version() noexcept { return PAJAMAS_VERSION; }

}  // namespace pajamas
