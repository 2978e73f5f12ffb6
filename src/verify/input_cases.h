// Made-up inputs for proofs: shapes from the model's declarations and profiles, values that fit what the input seems to
// be. Real inputs come from the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/build_plan.h"
#include "graph/graph.h"
#include "pajamas/tensor.h"

namespace pajamas {

struct InputCase {
  std::string name;
  bool is_real = false;
  std::vector<Tensor> inputs;  ///< In the order of the source's required_inputs().
};

/// Makes a case when it is called, so that alternatives which are not needed cost nothing.
using InputCaseMaker = std::function<InputCase()>;

/// Cases that all should be run; each is a list of alternatives, of which the first that the source accepts counts
/// (a model may hold to extents that it declares as dynamic). With profiles: their smallest, tuned and largest shapes;
/// else the declared shapes, and for a dynamic batch two sizes of it. Where `lowered` declares an extent that `source`
/// leaves open, it counts. Inputs of rank 4 are taken for pictures: smooth ones and white noise, both in
/// 0..1, which every usual scaling of pictures contains; others are uniform in 0..1 and normal noise. Integers
/// stay below the number of rows of the table they index, where they index one. The same seed gives the same values on
/// every machine. The graphs must outlive the makers. Throws Error{kUnsupported} for inputs that cannot be made up
/// (strings, sequences), naming the input.
std::vector<std::vector<InputCaseMaker>> seeded_cases(const Graph& source, const Graph& lowered,
                                                      const std::vector<ShapeProfile>& profiles, std::uint64_t seed);

/// A float32 tensor as float16 or bfloat16 and back, as engines declare their inputs. Throws Error{kInternal} for other
/// pairs of types.
Tensor converted(const Tensor& tensor, DType dtype);

}  // namespace pajamas
