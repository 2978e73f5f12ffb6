// From a region to a kernel's source: which element each thread computes. Pointwise regions walk their output in the
// order of its memory, several elements a thread; regions that reduce give each row to some threads of a block, or,
// where rows are not contiguous in memory, each column of 32 neighbouring rows to a warp's lanes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "targets/cuda/loops/emit.h"
#include "targets/cuda/loops/loops.h"
#include "targets/cuda/loops/region.h"

namespace pajamas::cuda::loops {

struct Output {
  std::string name;
  TensorDesc desc;
  std::int64_t offset_elements = 0;
};

/// A region with the memory of its outputs; what a kernel is made from.
struct KernelRequest {
  std::shared_ptr<const GraphFacts> facts;
  std::vector<const Node*> nodes;
  std::int64_t opset = 0;
  std::vector<Output> inputs;  ///< Same fields as an output.
  std::vector<Output> outputs;
  std::vector<std::pair<std::string, const Tensor*>> constants;
};

std::unique_ptr<Region> make_region(const KernelRequest& request);
bool reduces(const KernelRequest& request);

LoopKernel make_pointwise_kernel(const KernelRequest& request, int variant);
int num_pointwise_variants(const KernelRequest& request);
LoopKernel make_row_kernel(const KernelRequest& request, int variant);
int num_row_variants(const KernelRequest& request);

/// The axes that a kRow node reduces, of its first input.
std::vector<std::size_t> axes_of_row(Region& region, const Node& node);

// Shared by both kinds.
/// Sum over the axes of index · stride.
FormId address_of(Region& region, const TensorDesc& desc, const Index& index);
/// Stores `values` (names) at `addresses`, as vectors where neighbours and alignment allow.
std::string store_lanes(Region& region, BodyEmitter& body, std::size_t output, const Output& to,
                        const std::vector<FormId>& addresses, const std::vector<std::string>& values);
/// How far apart in memory neighbours along each axis of a value are, for each load that the value's elements come
/// from; 0 along an axis that the load does not depend on. Found by looking at the addresses of a few elements. Makes
/// formulas: ask a region of its own.
std::vector<std::vector<std::int64_t>> load_strides(Region& region, const std::string& value, const Shape& shape);
/// Whole source around a body, with parameters and tables.
std::string whole_source(const Region& region, const KernelRequest& request, const std::string& entry,
                         const std::string& body, std::int64_t num_threads);
/// Whether faster, less exact functions do: every float result is rounded to 16 bits.
bool is_fast(const KernelRequest& request);
double operations_in(const Region& region, const std::vector<ExprId>& roots);

}  // namespace pajamas::cuda::loops
