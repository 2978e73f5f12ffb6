// Shape rules of operators that move elements, and of those that read or make shapes.
#include <algorithm>
#include <numeric>

#include "graph/shape_inference/rules.h"

namespace pajamas::shape_rules {
namespace {

void constant(Site& site) {
  ValueFact& out = site.outputs[0];
  for (const Attribute& attribute : site.node.attributes) {
    if (const auto* tensor = std::get_if<Tensor>(&attribute.value)) {
      out.dtype = tensor->dtype();
      out.shape.emplace();
      for (const std::int64_t extent : tensor->shape()) out.shape->push_back(extent);
      if (tensor->num_elements() <= static_cast<std::int64_t>(ValueFact::kMaxTracked)) out.constant = *tensor;
      if (tensor->dtype() == DType::kInt64 && tensor->shape().rank() <= 1 &&
          tensor->num_elements() <= static_cast<std::int64_t>(ValueFact::kMaxTracked)) {
        out.elements.emplace();
        for (const std::int64_t value : tensor->as<std::int64_t>()) out.elements->push_back(value);
      }
    } else if (std::get_if<float>(&attribute.value) != nullptr) {
      out.dtype = DType::kFloat32;
      out.shape.emplace();
    } else if (const auto* value = std::get_if<std::int64_t>(&attribute.value)) {
      out.dtype = DType::kInt64;
      out.shape.emplace();
      out.elements = Extents{*value};
    } else if (const auto* floats = std::get_if<std::vector<float>>(&attribute.value)) {
      out.dtype = DType::kFloat32;
      out.shape = Extents{static_cast<std::int64_t>(floats->size())};
    } else if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&attribute.value)) {
      out.dtype = DType::kInt64;
      out.shape = Extents{static_cast<std::int64_t>(integers->size())};
      if (integers->size() <= ValueFact::kMaxTracked) out.elements = Extents(integers->begin(), integers->end());
    }
  }
}

/// Shape named by an input of integers: as long as its elements or, when only its length is known, of that rank.
std::optional<Extents> shape_from(const Site& site, std::size_t index) {
  if (const Extents* elements = site.elements(index)) return *elements;
  const Extents* shape = site.shape(index);
  if (shape != nullptr && shape->size() == 1 && (*shape)[0].is_known() && (*shape)[0].value() >= 0 &&
      (*shape)[0].value() <= static_cast<std::int64_t>(ValueFact::kMaxTracked)) {
    return fresh_shape(static_cast<std::size_t>((*shape)[0].value()));
  }
  return std::nullopt;
}

void constant_of_shape(Site& site) {
  DType dtype = DType::kFloat32;
  const Attribute* attribute = site.node.find_attribute("value");
  const Tensor* value = attribute != nullptr ? std::get_if<Tensor>(&attribute->value) : nullptr;
  if (value != nullptr) dtype = value->dtype();
  site.set_dtype(0, dtype);
  auto shape = shape_from(site, 0);
  if (!shape) return;
  const bool is_tracked = dtype == DType::kInt64 && value != nullptr && value->num_elements() == 1;
  if (is_tracked && shape->size() == 1 && (*shape)[0].is_known() && (*shape)[0].value() >= 0 &&
      (*shape)[0].value() <= static_cast<std::int64_t>(ValueFact::kMaxTracked)) {
    site.outputs[0].elements = Extents(static_cast<std::size_t>((*shape)[0].value()), value->as<std::int64_t>()[0]);
  }
  site.set_shape(0, std::move(*shape));
}

void shape_of(Site& site) {
  const Extents* shape = site.shape(0);
  if (shape == nullptr) return;
  const auto rank = static_cast<std::int64_t>(shape->size());
  const auto bound = [&](const char* name, std::int64_t fallback) {
    std::int64_t value = site.node.int_attribute(name, fallback);
    if (value < 0) value += rank;
    return std::clamp<std::int64_t>(value, 0, rank);
  };
  const std::int64_t start = bound("start", 0);
  const std::int64_t end = std::max(start, bound("end", rank));
  site.set_shape(0, {end - start});
  site.outputs[0].elements = Extents(shape->begin() + start, shape->begin() + end);
}

void size_of(Site& site) {
  site.set_shape(0, {});
  if (const Extents* shape = site.shape(0)) site.outputs[0].elements = Extents{product(*shape)};
}

void keep_elements(Site& site) {
  const Extents* elements = site.elements(0);
  if (elements != nullptr && site.outputs[0].shape && site.outputs[0].shape->size() <= 1) {
    site.outputs[0].elements = *elements;
  }
}

void reshape(Site& site) {
  if (!site.is_given(1)) return;
  auto target = shape_from(site, 1);
  if (!target) return;
  const Extents* in = site.shape(0);
  const bool has_elements = site.elements(1) != nullptr;
  if (!has_elements) {
    site.set_shape(0, std::move(*target));
    return;
  }
  const bool allows_zero = site.node.int_attribute("allowzero", 0) != 0;
  Extent known(1);
  std::ptrdiff_t open = -1;
  for (std::size_t i = 0; i < target->size(); ++i) {
    Extent& extent = (*target)[i];
    if (extent.is_known() && extent.value() == 0 && !allows_zero) {
      if (in == nullptr) {
        extent = Extent::fresh();
      } else if (i < in->size()) {
        extent = (*in)[i];
      } else {
        site.fail("a 0 in the target shape copies an axis that the input does not have");
      }
    }
    if (extent.is_known() && extent.value() == -1) {
      if (open >= 0) site.fail("the target shape has more than one -1");
      open = static_cast<std::ptrdiff_t>(i);
    } else {
      if (extent.is_known() && extent.value() < 0) site.fail("the target shape has a negative extent");
      known = known * extent;
    }
  }
  if (in != nullptr) {
    const Extent total = product(*in);
    if (open >= 0) {
      const auto rest = divide_exactly(total, known);
      if (!rest && total.is_known() && known.is_known() && known.value() != 0) {
        site.fail("shape " + to_string(*in) + " does not fill the target shape");
      }
      (*target)[static_cast<std::size_t>(open)] = rest ? *rest : Extent::fresh();
    } else if (total.is_known() && known.is_known() && total.value() != known.value()) {
      site.fail("shape " + to_string(*in) + " cannot become " + to_string(*target));
    }
  } else if (open >= 0) {
    (*target)[static_cast<std::size_t>(open)] = Extent::fresh();
  }
  site.set_shape(0, std::move(*target));
  keep_elements(site);
}

void flatten(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) {
    site.set_shape(0, fresh_shape(2));
    return;
  }
  std::int64_t axis = site.node.int_attribute("axis", 1);
  const auto rank = static_cast<std::int64_t>(in->size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank) site.fail("the axis is outside the tensor");
  site.set_shape(0,
                 {product(Extents(in->begin(), in->begin() + axis)), product(Extents(in->begin() + axis, in->end()))});
}

void squeeze(Site& site) {
  const Extents* in = site.shape(0);
  const auto axes = site.axes(1);
  if (in == nullptr || !axes) return;
  std::vector<bool> is_dropped(in->size(), false);
  if (axes->empty() && !site.is_given(1)) {
    for (std::size_t i = 0; i < in->size(); ++i) {
      if (!(*in)[i].is_known()) return;  // may or may not be 1
      is_dropped[i] = (*in)[i].value() == 1;
    }
  }
  for (const std::int64_t value : *axes) {
    const std::size_t axis = site.axis(value, in->size());
    if ((*in)[axis].is_known() && (*in)[axis].value() != 1) site.fail("an axis to squeeze is not 1");
    is_dropped[axis] = true;
  }
  Extents shape;
  for (std::size_t i = 0; i < in->size(); ++i) {
    if (!is_dropped[i]) shape.push_back((*in)[i]);
  }
  site.set_shape(0, std::move(shape));
  keep_elements(site);
}

void unsqueeze(Site& site) {
  const Extents* in = site.shape(0);
  const auto axes = site.axes(1);
  if (in == nullptr || !axes) return;
  const std::size_t rank = in->size() + axes->size();
  std::vector<bool> is_new(rank, false);
  for (const std::int64_t value : *axes) {
    const std::size_t axis = site.axis(value, rank);
    if (is_new[axis]) site.fail("an axis is named twice");
    is_new[axis] = true;
  }
  Extents shape;
  std::size_t from = 0;
  for (std::size_t i = 0; i < rank; ++i) shape.push_back(is_new[i] ? Extent(1) : (*in)[from++]);
  site.set_shape(0, std::move(shape));
  keep_elements(site);
}

void transpose(Site& site) {
  const Extents* in = site.shape(0);
  auto order = site.node.ints_attribute("perm");
  if (in == nullptr) {
    if (!order.empty()) site.set_shape(0, fresh_shape(order.size()));
    return;
  }
  if (order.empty()) {
    order.resize(in->size());
    std::iota(order.rbegin(), order.rend(), 0);
  }
  if (order.size() != in->size()) site.fail("attribute 'perm' must name every axis");
  Extents shape;
  for (const std::int64_t axis : order) shape.push_back((*in)[site.axis(axis, in->size())]);
  site.set_shape(0, std::move(shape));
}

void concat(Site& site) {
  Extents elements;
  bool has_elements = true;
  std::optional<Extents> shape;
  const std::int64_t given_axis = site.node.int_attribute("axis", 0);
  for (std::size_t i = 0; i < site.node.inputs.size(); ++i) {
    const Extents* part = site.shape(i);
    const Extents* values = site.elements(i);
    has_elements = has_elements && values != nullptr;
    if (has_elements) elements.insert(elements.end(), values->begin(), values->end());
    if (part == nullptr) return;
    if (!shape) {
      shape = *part;
      continue;
    }
    if (part->size() != shape->size()) {
      site.fail("parts of shapes " + to_string(*shape) + " and " + to_string(*part) + " do not fit");
    }
    const std::size_t axis = site.axis(given_axis, shape->size());
    for (std::size_t k = 0; k < shape->size(); ++k) {
      Extent& extent = (*shape)[k];
      extent = k == axis ? extent + (*part)[k] : site.merge(extent, (*part)[k], "extents of the parts");
    }
  }
  if (!shape) return;
  site.axis(given_axis, shape->size());
  if (has_elements && shape->size() == 1) site.outputs[0].elements = std::move(elements);
  site.set_shape(0, std::move(*shape));
}

void split(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const std::size_t axis = site.axis(site.node.int_attribute("axis", 0), in->size());
  const std::size_t count = site.outputs.size();
  std::optional<std::vector<std::int64_t>> lengths;
  if (site.opset < 13) {
    lengths = site.node.ints_attribute("split");
    if (lengths->empty()) lengths.reset();
  } else if (site.is_given(1)) {
    lengths = site.constants(1);
    if (!lengths) {
      for (std::size_t i = 0; i < count; ++i) {
        Extents shape = *in;
        shape[axis] = Extent::fresh();
        site.set_shape(i, std::move(shape));
      }
      return;
    }
  }
  if (lengths && lengths->size() != count) site.fail("one length an output is wanted");
  Extent start(0);
  for (std::size_t i = 0; i < count; ++i) {
    Extents shape = *in;
    if (lengths) {
      if ((*lengths)[i] < 0) site.fail("a length of " + std::to_string((*lengths)[i]));
      shape[axis] = (*lengths)[i];
    } else if ((*in)[axis].is_known()) {
      const std::int64_t extent = (*in)[axis].value();
      const auto parts = static_cast<std::int64_t>(count);
      const std::int64_t length = (extent + parts - 1) / parts;
      shape[axis] = std::clamp<std::int64_t>(extent - static_cast<std::int64_t>(i) * length, 0, length);
    } else {
      const auto even = divide_exactly((*in)[axis], static_cast<std::int64_t>(count));
      shape[axis] = even ? *even : Extent::fresh();
    }
    const Extents* elements = site.elements(0);
    if (elements != nullptr && in->size() == 1 && start.is_known() && shape[axis].is_known()) {
      const auto from = elements->begin() + std::min<std::int64_t>(start.value(), elements->size());
      const auto length = std::min<std::int64_t>(shape[axis].value(), elements->end() - from);
      if (length >= 0) site.outputs[i].elements = Extents(from, from + length);
    }
    start = start + shape[axis];
    site.set_shape(i, std::move(shape));
  }
  if (lengths && (*in)[axis].is_known() && start.is_known() && start.value() != (*in)[axis].value()) {
    site.fail("the lengths add up to " + start.to_string() + ", not " + (*in)[axis].to_string());
  }
}

void slice(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  std::optional<std::vector<std::int64_t>> starts;
  std::optional<std::vector<std::int64_t>> ends;
  std::optional<std::vector<std::int64_t>> axes = std::vector<std::int64_t>{};
  std::optional<std::vector<std::int64_t>> steps = std::vector<std::int64_t>{};
  const Extents* end_elements = nullptr;
  if (site.opset < 10) {
    starts = site.node.ints_attribute("starts");
    ends = site.node.ints_attribute("ends");
    axes = site.node.ints_attribute("axes");
  } else {
    starts = site.constants(1);
    ends = site.constants(2);
    end_elements = site.elements(2);
    if (site.is_given(3)) axes = site.constants(3);
    if (site.is_given(4)) steps = site.constants(4);
  }
  Extents shape = *in;
  if (!axes) {
    site.set_shape(0, fresh_shape(in->size()));
    return;
  }
  const std::size_t count = starts                    ? starts->size()
                            : ends                    ? ends->size()
                            : end_elements != nullptr ? end_elements->size()
                            : !axes->empty()          ? axes->size()
                                                      : in->size();
  if (axes->empty()) {
    axes->resize(count);
    std::iota(axes->begin(), axes->end(), 0);
  }
  if (axes->size() != count || (ends && ends->size() != count) || (starts && starts->size() != count) ||
      (steps && !steps->empty() && steps->size() != count)) {
    site.fail("starts, ends, axes and steps are of different lengths");
  }
  std::vector<bool> is_cut(in->size(), false);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t axis = site.axis((*axes)[i], in->size());
    if (is_cut[axis]) site.fail("an axis is named twice");
    is_cut[axis] = true;
    const Extent extent = (*in)[axis];
    if (!starts || !steps) {
      shape[axis] = Extent::fresh();
      continue;
    }
    const std::int64_t start = (*starts)[i];
    const std::int64_t step = steps->empty() ? 1 : (*steps)[i];
    if (step == 0) site.fail("a step of 0");
    if (!ends && end_elements != nullptr && i < end_elements->size() && step == 1 && start == 0 &&
        ((*end_elements)[i] == extent)) {
      continue;  // all of a symbolic axis
    }
    if (!ends) {
      shape[axis] = Extent::fresh();
      continue;
    }
    const std::int64_t end = (*ends)[i];
    if (!extent.is_known()) {
      // With step 1 the common cases stay expressions: all of the axis, all but the first or the last few.
      constexpr std::int64_t kFar = std::int64_t{1} << 30;
      if (step == 1 && start == 0 && end >= kFar) continue;
      shape[axis] = Extent::fresh();
      continue;
    }
    const auto clamped = [&](std::int64_t value, std::int64_t low, std::int64_t high) {
      if (value < 0) value = value < -extent.value() ? -1 - extent.value() : value + extent.value();
      return std::clamp(value, low, high);
    };
    const std::int64_t size = extent.value();
    const std::int64_t first = step > 0 ? clamped(start, 0, size) : clamped(start, -1, size - 1);
    const std::int64_t last = step > 0 ? clamped(end, 0, size) : clamped(end, -1, size - 1);
    std::int64_t picked = 0;
    if (step > 0 && last > first) picked = (last - first - 1) / step + 1;
    if (step < 0 && first > last) picked = step < -size ? 1 : (first - last - 1) / -step + 1;
    shape[axis] = picked;
    const Extents* elements = site.elements(0);
    if (elements != nullptr && in->size() == 1 && static_cast<std::int64_t>(elements->size()) == size) {
      Extents kept;
      for (std::int64_t k = 0; k < picked; ++k) kept.push_back((*elements)[static_cast<std::size_t>(first + k * step)]);
      site.outputs[0].elements = std::move(kept);
    }
  }
  site.set_shape(0, std::move(shape));
}

void expand(Site& site) {
  const Extents* in = site.shape(0);
  const auto wanted = shape_from(site, 1);
  if (in == nullptr || !wanted) return;
  for (const Extent& extent : *wanted) {
    if (extent.is_known() && extent.value() < 0) site.fail("the shape " + to_string(*wanted) + " is wanted");
  }
  site.set_shape(0, broadcast(site, *in, *wanted));
  const Extents* elements = site.elements(0);
  const auto shape = site.outputs[0].static_shape();
  if (elements != nullptr && elements->size() == 1 && shape && shape->rank() == 1 &&
      (*shape)[0] <= static_cast<std::int64_t>(ValueFact::kMaxTracked)) {
    site.outputs[0].elements = Extents(static_cast<std::size_t>((*shape)[0]), (*elements)[0]);
  }
}

void tile(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const Extents* repeats = site.elements(1);
  if (repeats == nullptr) {
    site.set_shape(0, fresh_shape(in->size()));
    return;
  }
  if (repeats->size() != in->size()) site.fail("one repeat an axis is wanted");
  Extents shape;
  for (std::size_t i = 0; i < in->size(); ++i) shape.push_back((*in)[i] * (*repeats)[i]);
  site.set_shape(0, std::move(shape));
}

void pad(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const bool is_attribute = site.opset < 11;
  const auto pads = is_attribute ? std::optional(site.node.ints_attribute("pads")) : site.constants(1);
  std::optional<std::vector<std::int64_t>> axes = std::vector<std::int64_t>(in->size());
  std::iota(axes->begin(), axes->end(), 0);
  if (!is_attribute && site.is_given(3)) axes = site.constants(3);
  if (!pads || !axes) {
    site.set_shape(0, fresh_shape(in->size()));
    return;
  }
  if (pads->size() != 2 * axes->size()) site.fail("two pads an axis are wanted");
  Extents shape = *in;
  for (std::size_t i = 0; i < axes->size(); ++i) {
    Extent& extent = shape[site.axis((*axes)[i], in->size())];
    extent = extent + (*pads)[i] + (*pads)[i + axes->size()];
    if (extent.is_known() && extent.value() < 0) site.fail("the pads leave a negative extent");
  }
  site.set_shape(0, std::move(shape));
}

void depth_to_space(Site& site) {
  const Extents* in = site.shape(0);
  const std::int64_t block = site.node.int_attribute("blocksize", 0);
  if (in == nullptr) return;
  if (in->size() != 4 || block < 1) site.fail("a tensor of rank 4 and a block size are wanted");
  const auto channels = divide_exactly((*in)[1], Extent(block) * block);
  site.set_shape(0, {(*in)[0], channels ? *channels : Extent::fresh(), (*in)[2] * block, (*in)[3] * block});
}

void space_to_depth(Site& site) {
  const Extents* in = site.shape(0);
  const std::int64_t block = site.node.int_attribute("blocksize", 0);
  if (in == nullptr) return;
  if (in->size() != 4 || block < 1) site.fail("a tensor of rank 4 and a block size are wanted");
  site.set_shape(0, {(*in)[0], (*in)[1] * block * block, floor_divide((*in)[2], block), floor_divide((*in)[3], block)});
}

void gather(Site& site) {
  const Extents* data = site.shape(0);
  const Extents* indices = site.shape(1);
  if (data == nullptr || indices == nullptr) return;
  const std::size_t axis = site.axis(site.node.int_attribute("axis", 0), data->size());
  Extents shape(data->begin(), data->begin() + static_cast<std::ptrdiff_t>(axis));
  shape.insert(shape.end(), indices->begin(), indices->end());
  shape.insert(shape.end(), data->begin() + static_cast<std::ptrdiff_t>(axis) + 1, data->end());
  const Extents* elements = site.elements(0);
  const auto picked = site.constants(1);
  if (elements != nullptr && picked && data->size() == 1 && shape.size() <= 1) {
    Extents kept;
    const auto count = static_cast<std::int64_t>(elements->size());
    for (const std::int64_t index : *picked) {
      if (index < -count || index >= count) {
        site.fail("index " + std::to_string(index) + " is outside an axis of " + std::to_string(count));
      }
      kept.push_back((*elements)[static_cast<std::size_t>(index < 0 ? index + count : index)]);
    }
    site.outputs[0].elements = std::move(kept);
  }
  site.set_shape(0, std::move(shape));
}

void gather_elements(Site& site) {
  if (const Extents* indices = site.shape(1)) site.set_shape(0, *indices);
}

void gather_nd(Site& site) {
  const Extents* data = site.shape(0);
  const Extents* indices = site.shape(1);
  if (data == nullptr || indices == nullptr || indices->empty() || !indices->back().is_known()) return;
  const std::size_t skipped =
      static_cast<std::size_t>(indices->back().value() + site.node.int_attribute("batch_dims", 0));
  if (indices->back().value() < 0 || skipped > data->size()) site.fail("indices name more axes than there are");
  Extents shape(indices->begin(), indices->end() - 1);
  shape.insert(shape.end(), data->begin() + static_cast<std::ptrdiff_t>(skipped), data->end());
  site.set_shape(0, std::move(shape));
}

void range(Site& site) {
  const auto bounds = [&](std::size_t i) -> std::optional<Extent> {
    const Extents* elements = site.elements(i);
    return elements != nullptr && elements->size() == 1 ? std::optional((*elements)[0]) : std::nullopt;
  };
  const auto start = bounds(0);
  const auto limit = bounds(1);
  const auto step = bounds(2);
  Extent count = Extent::fresh();
  if (start && limit && step && step->is_known()) {
    if (start->is_known() && limit->is_known() && step->value() != 0) {
      const std::int64_t s = step->value();
      const Extent span = *limit - *start;
      if (span.is_known() && s != INT64_MIN) {
        const std::int64_t distance = span.value();
        const bool is_forward = distance != 0 && (distance > 0) == (s > 0);
        // ceil(distance / s) without overflow
        count = is_forward ? Extent(distance / s + (distance % s != 0 ? 1 : 0)) : Extent(0);
      }
    } else if (step->value() == 1 && (*limit - *start).is_surely_non_negative()) {
      count = *limit - *start;
    }
  }
  site.set_shape(0, {count});
}

}  // namespace

void add_movement_rules(RuleTable& table) {
  table["Constant"] = constant;
  table["ConstantOfShape"] = constant_of_shape;
  table["Shape"] = shape_of;
  table["Size"] = size_of;
  table["Reshape"] = reshape;
  table["Flatten"] = flatten;
  table["Squeeze"] = squeeze;
  table["Unsqueeze"] = unsqueeze;
  table["Transpose"] = transpose;
  table["Concat"] = concat;
  table["Split"] = split;
  table["Slice"] = slice;
  table["Expand"] = expand;
  table["Tile"] = tile;
  table["Pad"] = pad;
  table["DepthToSpace"] = depth_to_space;
  table["SpaceToDepth"] = space_to_depth;
  table["Gather"] = gather;
  table["GatherElements"] = gather_elements;
  table["GatherND"] = gather_nd;
  table["Range"] = range;
}

}  // namespace pajamas::shape_rules
