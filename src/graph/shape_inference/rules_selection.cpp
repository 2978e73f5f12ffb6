// Shape rules of reductions, orderings, detection operators and others whose result depends on axes or counts.
#include <algorithm>

#include "graph/shape_inference/rules.h"

namespace pajamas::shape_rules {
namespace {

void reduce(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const bool keeps = site.node.int_attribute("keepdims", 1) != 0;
  const std::int64_t input_since = site.node.op_type == "ReduceSum" ? 13 : 18;
  std::optional<std::vector<std::int64_t>> axes = std::vector<std::int64_t>{};
  if (site.opset < input_since) {
    axes = site.node.ints_attribute("axes");
  } else if (site.is_given(1)) {
    axes = site.constants(1);
  }
  if (!axes) {
    if (keeps) site.set_shape(0, fresh_shape(in->size()));
    return;
  }
  if (axes->empty() && site.node.int_attribute("noop_with_empty_axes", 0) != 0) {
    site.set_shape(0, *in);
    return;
  }
  std::vector<bool> is_reduced(in->size(), axes->empty());
  for (const std::int64_t axis : *axes) is_reduced[site.axis(axis, in->size())] = true;
  Extents shape;
  for (std::size_t i = 0; i < in->size(); ++i) {
    if (!is_reduced[i]) {
      shape.push_back((*in)[i]);
    } else if (keeps) {
      shape.push_back(1);
    }
  }
  const Extents* elements = site.elements(0);
  if (elements != nullptr && site.node.op_type == "ReduceProd" && in->size() <= 1) {
    site.outputs[0].elements = Extents{product(*elements)};
  }
  site.set_shape(0, std::move(shape));
}

void arg_extreme(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const std::size_t axis = site.axis(site.node.int_attribute("axis", 0), in->size());
  Extents shape = *in;
  if (site.node.int_attribute("keepdims", 1) != 0) {
    shape[axis] = 1;
  } else {
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  site.set_shape(0, std::move(shape));
}

void top_k(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const std::size_t axis = site.axis(site.node.int_attribute("axis", -1), in->size());
  Extents shape = *in;
  if (site.opset < 10) {
    shape[axis] = site.node.int_attribute("k", 0);
  } else {
    const Extents* k = site.elements(1);
    shape[axis] = k != nullptr && k->size() == 1 ? (*k)[0] : Extent::fresh();
  }
  const Extent& kept = shape[axis];
  if (kept.is_known() && (kept.value() < 0 || ((*in)[axis].is_known() && kept.value() > (*in)[axis].value()))) {
    site.fail("k is " + kept.to_string() + " on an axis of " + (*in)[axis].to_string());
  }
  site.set_shape(1, shape);
  site.set_shape(0, std::move(shape));
}

void non_zero(Site& site) {
  const Extents* in = site.shape(0);
  site.set_shape(0, {in != nullptr ? Extent(static_cast<std::int64_t>(in->size())) : Extent::fresh(), Extent::fresh()});
}

void compress(Site& site) {
  const Extents* in = site.shape(0);
  if (site.node.find_attribute("axis") == nullptr) {
    site.set_shape(0, {Extent::fresh()});
  } else if (in != nullptr) {
    Extents shape = *in;
    shape[site.axis(site.node.int_attribute("axis", 0), in->size())] = Extent::fresh();
    site.set_shape(0, std::move(shape));
  }
}

void non_max_suppression(Site& site) { site.set_shape(0, {Extent::fresh(), 3}); }

void roi_align(Site& site) {
  const Extents* in = site.shape(0);
  const Extents* rois = site.shape(1);
  if (in == nullptr || in->size() != 4) return;
  site.set_shape(0, {rois != nullptr && !rois->empty() ? (*rois)[0] : Extent::fresh(), (*in)[1],
                     site.node.int_attribute("output_height", 1), site.node.int_attribute("output_width", 1)});
}

void one_hot(Site& site) {
  const Extents* indices = site.shape(0);
  if (indices == nullptr) return;
  const Extents* depth = site.elements(1);
  Extents shape = *indices;
  const std::size_t axis = site.axis(site.node.int_attribute("axis", -1), shape.size() + 1);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis),
               depth != nullptr && depth->size() == 1 ? (*depth)[0] : Extent::fresh());
  site.set_shape(0, std::move(shape));
}

void random_tensor(Site& site) {
  site.set_dtype(0, static_cast<DType>(site.node.int_attribute("dtype", 1)));
  Extents shape;
  for (const std::int64_t extent : site.node.ints_attribute("shape")) shape.push_back(extent);
  site.set_shape(0, std::move(shape));
}

/// LSTM, GRU and RNN: sequence, hidden and cell states.
void recurrent(Site& site) {
  const Extents* in = site.shape(0);
  const std::int64_t hidden = site.node.int_attribute("hidden_size", 0);
  if (in == nullptr || in->size() != 3 || hidden < 1) return;
  const std::int64_t num_directions = site.node.string_attribute("direction", "forward") == "bidirectional" ? 2 : 1;
  const bool is_batch_first = site.node.int_attribute("layout", 0) != 0;
  const Extent& seq_len = (*in)[is_batch_first ? 1 : 0];
  const Extent& batch = (*in)[is_batch_first ? 0 : 1];
  if (is_batch_first) {
    site.set_shape(0, {batch, seq_len, num_directions, hidden});
  } else {
    site.set_shape(0, {seq_len, num_directions, batch, hidden});
  }
  for (std::size_t i = 1; i < site.outputs.size(); ++i) {
    if (is_batch_first) {
      site.set_shape(i, {batch, num_directions, hidden});
    } else {
      site.set_shape(i, {num_directions, batch, hidden});
    }
  }
}

}  // namespace

void add_selection_rules(RuleTable& table) {
  for (const char* name : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                           "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"}) {
    table[name] = reduce;
  }
  table["ArgMax"] = arg_extreme;
  table["ArgMin"] = arg_extreme;
  table["TopK"] = top_k;
  table["NonZero"] = non_zero;
  table["Compress"] = compress;
  table["NonMaxSuppression"] = non_max_suppression;
  table["RoiAlign"] = roi_align;
  table["OneHot"] = one_hot;
  table["RandomNormal"] = random_tensor;
  table["RandomUniform"] = random_tensor;
  table["LSTM"] = recurrent;
  table["GRU"] = recurrent;
  table["RNN"] = recurrent;
}

}  // namespace pajamas::shape_rules
