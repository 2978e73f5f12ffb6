// Shape rules of convolutions, pooling, matrix products, normalisation, resizing and attention.
#include <algorithm>
#include <cmath>
#include <map>

#include "graph/shape_inference/rules.h"

namespace pajamas::shape_rules {
namespace {

/// Attributes of a sliding window over the spatial axes.
struct Window {
  std::vector<std::int64_t> kernel;
  std::vector<std::int64_t> strides;
  std::vector<std::int64_t> dilations;
  std::vector<std::int64_t> pads;
  std::string auto_pad;
};

Window window_of(const Site& site, std::vector<std::int64_t> kernel) {
  const std::size_t rank = kernel.size();
  Window window{std::move(kernel), site.node.ints_attribute("strides"), site.node.ints_attribute("dilations"),
                site.node.ints_attribute("pads"), site.node.string_attribute("auto_pad", "NOTSET")};
  if (window.strides.empty()) window.strides.assign(rank, 1);
  if (window.dilations.empty()) window.dilations.assign(rank, 1);
  if (window.pads.empty()) window.pads.assign(2 * rank, 0);
  if (window.strides.size() != rank || window.dilations.size() != rank || window.pads.size() != 2 * rank) {
    site.fail("strides, dilations or pads do not fit " + std::to_string(rank) + " spatial axes");
  }
  for (std::size_t i = 0; i < rank; ++i) {
    if (window.kernel[i] < 1 || window.strides[i] < 1 || window.dilations[i] < 1) {
      site.fail("a kernel, stride or dilation below 1");
    }
    // So that no sum or product of them overflows.
    constexpr std::int64_t kMaxWindow = std::int64_t{1} << 30;
    if (std::max({window.kernel[i], window.strides[i], window.dilations[i]}) > kMaxWindow ||
        std::max(window.pads[i], window.pads[i + rank]) > kMaxWindow ||
        std::min(window.pads[i], window.pads[i + rank]) < -kMaxWindow) {
      site.fail("a kernel, stride, dilation or pad of more than 2^30");
    }
  }
  return window;
}

Extent slide(const Site& site, const Extent& extent, const Window& window, std::size_t i, bool is_ceil) {
  if (window.auto_pad == "SAME_UPPER" || window.auto_pad == "SAME_LOWER") {
    return floor_divide(extent + (window.strides[i] - 1), window.strides[i]);
  }
  const std::int64_t reach = window.dilations[i] * (window.kernel[i] - 1) + 1;
  const bool is_valid = window.auto_pad == "VALID";
  const std::int64_t before = is_valid ? 0 : window.pads[i];
  const std::int64_t pads = is_valid ? 0 : before + window.pads[i + window.kernel.size()];
  const Extent room = extent + (pads - reach);
  if (room.is_known() && room.value() < 0) site.fail("the window is larger than the padded input");
  const std::int64_t stride = window.strides[i];
  Extent count = floor_divide(is_ceil ? room + (stride - 1) : room, stride) + 1;
  // With ceil_mode a window that would start in the padding behind the input is left out.
  if (is_ceil && count.is_known() && extent.is_known() && (count.value() - 1) * stride >= extent.value() + before) {
    count = count - 1;
  }
  return count;
}

void conv(Site& site) {
  const Extents* in = site.shape(0);
  const Extents* weight = site.shape(1);
  if (in == nullptr || weight == nullptr) return;
  if (in->size() < 3 || weight->size() != in->size()) {
    site.fail("input " + to_string(*in) + " and weight " + to_string(*weight) + " do not fit");
  }
  std::vector<std::int64_t> kernel;
  for (std::size_t i = 2; i < weight->size(); ++i) {
    if (!(*weight)[i].is_known()) return;
    kernel.push_back((*weight)[i].value());
  }
  const std::int64_t group = site.node.int_attribute("group", 1);
  if (group < 1) site.fail("attribute 'group' is below 1");
  site.merge((*in)[1], (*weight)[1] * group, "channels of input and weight");
  const Window window = window_of(site, kernel);
  Extents shape{(*in)[0], (*weight)[0]};
  for (std::size_t i = 0; i < kernel.size(); ++i) shape.push_back(slide(site, (*in)[i + 2], window, i, false));
  site.set_shape(0, std::move(shape));
}

void conv_transpose(Site& site) {
  const Extents* in = site.shape(0);
  const Extents* weight = site.shape(1);
  if (in == nullptr || weight == nullptr) return;
  if (in->size() < 3 || weight->size() != in->size()) site.fail("input and weight are of different ranks");
  std::vector<std::int64_t> kernel;
  for (std::size_t i = 2; i < weight->size(); ++i) {
    if (!(*weight)[i].is_known()) return;
    kernel.push_back((*weight)[i].value());
  }
  site.merge((*in)[1], (*weight)[0], "channels of input and weight");
  const Window window = window_of(site, kernel);
  const auto output_shape = site.node.ints_attribute("output_shape");
  auto output_padding = site.node.ints_attribute("output_padding");
  output_padding.resize(kernel.size(), 0);
  Extents shape{(*in)[0], (*weight)[1] * site.node.int_attribute("group", 1)};
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    const std::int64_t stride = window.strides[i];
    if (output_shape.size() == kernel.size()) {
      shape.push_back(output_shape[i]);
    } else if (window.auto_pad == "SAME_UPPER" || window.auto_pad == "SAME_LOWER") {
      shape.push_back((*in)[i + 2] * stride);
    } else {
      const std::int64_t pads = window.auto_pad == "VALID" ? 0 : window.pads[i] + window.pads[i + kernel.size()];
      shape.push_back(((*in)[i + 2] - 1) * stride +
                      (output_padding[i] + window.dilations[i] * (kernel[i] - 1) + 1 - pads));
    }
  }
  site.set_shape(0, std::move(shape));
}

void pool(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const auto kernel = site.node.ints_attribute("kernel_shape");
  if (in->size() != kernel.size() + 2) site.fail("kernel_shape does not fit the input " + to_string(*in));
  const Window window = window_of(site, kernel);
  const bool is_ceil = site.node.int_attribute("ceil_mode", 0) != 0;
  Extents shape{(*in)[0], (*in)[1]};
  for (std::size_t i = 0; i < kernel.size(); ++i) shape.push_back(slide(site, (*in)[i + 2], window, i, is_ceil));
  if (site.outputs.size() > 1) site.set_shape(1, shape);
  site.set_shape(0, std::move(shape));
}

void global_pool(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  if (in->size() < 2) site.fail("a tensor with batch and channels is wanted");
  Extents shape(in->size(), Extent(1));
  shape[0] = (*in)[0];
  shape[1] = (*in)[1];
  site.set_shape(0, std::move(shape));
}

void mat_mul(Site& site) {
  const Extents* left = site.shape(0);
  const Extents* right = site.shape(1);
  if (left == nullptr || right == nullptr) return;
  if (left->empty() || right->empty()) site.fail("a matrix product of a scalar");
  Extents a = *left;
  Extents b = *right;
  const bool is_row = a.size() == 1;
  const bool is_column = b.size() == 1;
  if (is_row) a.insert(a.begin(), Extent(1));
  if (is_column) b.push_back(Extent(1));
  const Extent& inner_a = a[a.size() - 1];
  const Extent& inner_b = b[b.size() - 2];
  if (inner_a.is_known() && inner_b.is_known() && inner_a.value() != inner_b.value()) {
    site.fail("shapes " + to_string(*left) + " and " + to_string(*right) + " do not multiply");
  }
  Extents shape = broadcast(site, Extents(a.begin(), a.end() - 2), Extents(b.begin(), b.end() - 2));
  if (!is_row) shape.push_back(a[a.size() - 2]);
  if (!is_column) shape.push_back(b[b.size() - 1]);
  site.set_shape(0, std::move(shape));
}

void quantized_mat_mul(Site& site) {
  Site plain = site;
  if (site.node.op_type == "QLinearMatMul") plain.inputs = {site.input(0), site.input(3)};
  mat_mul(plain);
  site.outputs[0].shape = plain.outputs[0].shape;
  if (site.node.op_type == "QLinearMatMul" && site.input(7) != nullptr) site.set_dtype(0, site.input(7)->dtype);
}

void gemm(Site& site) {
  const Extents* a = site.shape(0);
  const Extents* b = site.shape(1);
  if (a == nullptr || b == nullptr) return;
  if (a->size() != 2 || b->size() != 2)
    site.fail("matrices are wanted, not " + to_string(*a) + " and " + to_string(*b));
  const bool is_a_transposed = site.node.int_attribute("transA", 0) != 0;
  const bool is_b_transposed = site.node.int_attribute("transB", 0) != 0;
  site.merge((*a)[is_a_transposed ? 0 : 1], (*b)[is_b_transposed ? 1 : 0], "inner extents");
  site.set_shape(0, {(*a)[is_a_transposed ? 1 : 0], (*b)[is_b_transposed ? 0 : 1]});
}

/// pajamas.PagedAttention (docs/language.md): [num_tokens, num_heads * value_dim].
void paged_attention(Site& site) {
  const std::int64_t num_heads = site.node.int_attribute("num_heads", 0);
  const std::int64_t num_kv_heads = site.node.int_attribute("num_kv_heads", 0);
  const std::int64_t head_dim = site.node.int_attribute("head_dim", 0);
  if (num_heads < 1 || num_kv_heads < 1 || head_dim < 1 || num_heads % num_kv_heads != 0) {
    site.fail("num_heads, num_kv_heads and head_dim must be positive, and num_kv_heads must divide num_heads");
  }
  if (site.input(0) != nullptr) site.set_dtype(0, site.input(0)->dtype);
  const Extents* query = site.shape(0);
  const Extents* key = site.shape(1);
  const Extents* value = site.shape(2);
  if (query == nullptr || key == nullptr || value == nullptr) return;
  if (query->size() != 2 || key->size() != 2 || value->size() != 2) {
    site.fail("query, key and value must be [num_tokens, channels]");
  }
  const Extent num_tokens = site.merge(site.merge((*query)[0], (*key)[0], "tokens"), (*value)[0], "tokens");
  site.merge((*query)[1], Extent(num_heads * head_dim), "query channels");
  site.merge((*key)[1], Extent(num_kv_heads * head_dim), "key channels");
  const auto value_dim = divide_exactly((*value)[1], Extent(num_kv_heads));
  if (!value_dim && (*value)[1].is_known()) site.fail("num_kv_heads does not divide the channels of value");
  site.set_shape(0, {num_tokens, value_dim ? *value_dim * Extent(num_heads) : Extent::fresh()});
}

void batch_normalization(Site& site) {
  if (const Extents* in = site.shape(0)) site.set_shape(0, *in);
}

void layer_normalization(Site& site) {
  const Extents* in = site.shape(0);
  const auto stash = static_cast<DType>(site.node.int_attribute("stash_type", 1));
  for (std::size_t i = 1; i < site.outputs.size(); ++i) site.set_dtype(i, stash);
  if (in == nullptr) return;
  const std::size_t axis = site.axis(site.node.int_attribute("axis", -1), in->size());
  site.set_shape(0, *in);
  Extents reduced = *in;
  for (std::size_t i = axis; i < reduced.size(); ++i) reduced[i] = 1;
  for (std::size_t i = 1; i < site.outputs.size(); ++i) site.set_shape(i, reduced);
}

/// floor(extent * scale), as an expression where the scale or its inverse is an integer.
Extent scaled(const Site& site, const Extent& extent, float scale) {
  if (!(scale > 0)) site.fail("a scale of " + std::to_string(scale));
  if (extent.is_known()) {
    const double product = std::floor(static_cast<double>(extent.value()) * static_cast<double>(scale));
    if (!(product < 1e15))
      site.fail("a scale of " + std::to_string(scale) + " for " + extent.to_string() + " elements");
    return static_cast<std::int64_t>(product);
  }
  if (scale >= 1 && scale <= 1024 && scale == std::floor(scale)) return extent * static_cast<std::int64_t>(scale);
  const float inverse = 1 / scale;
  if (inverse >= 1 && inverse <= 1024 && inverse == std::floor(inverse)) {
    return floor_divide(extent, static_cast<std::int64_t>(inverse));
  }
  return Extent::fresh();
}

void resize(Site& site) {
  const Extents* in = site.shape(0);
  if (in == nullptr) return;
  const std::size_t rank = in->size();
  Extents shape = *in;
  const bool is_old = site.opset < 11;
  std::vector<std::size_t> axes;
  for (const std::int64_t axis : site.node.ints_attribute("axes")) axes.push_back(site.axis(axis, rank));
  if (axes.empty()) {
    for (std::size_t i = 0; i < rank; ++i) axes.push_back(i);
  }
  const bool has_sizes = !is_old && site.is_given(3);
  const bool keeps_aspect = site.node.string_attribute("keep_aspect_ratio_policy", "stretch") != "stretch";
  if (has_sizes && !keeps_aspect) {
    const Extents* sizes = site.elements(3);
    if (sizes != nullptr && sizes->size() != axes.size()) site.fail("one size an axis is wanted");
    for (std::size_t i = 0; i < axes.size(); ++i) shape[axes[i]] = sizes != nullptr ? (*sizes)[i] : Extent::fresh();
  } else {
    const ValueFact* scales = site.input(site.opset < 11 ? 1 : 2);
    const bool is_constant = scales != nullptr && scales->constant.dtype() == DType::kFloat32 &&
                             scales->constant.num_elements() == static_cast<std::int64_t>(axes.size());
    for (std::size_t i = 0; i < axes.size(); ++i) {
      Extent& extent = shape[axes[i]];
      extent = is_constant && !(has_sizes && keeps_aspect) ? scaled(site, extent, scales->constant.as<float>()[i])
                                                           : Extent::fresh();
    }
  }
  site.set_shape(0, std::move(shape));
}

void einsum(Site& site) {
  std::string equation = site.node.string_attribute("equation", "");
  std::erase(equation, ' ');
  const auto arrow = equation.find("->");
  if (arrow == std::string::npos || equation.find("...") != std::string::npos) return;
  std::map<char, Extent> extents;
  std::size_t input = 0;
  std::size_t axis = 0;
  for (const char letter : equation.substr(0, arrow)) {
    if (letter == ',') {
      ++input;
      axis = 0;
      continue;
    }
    const Extents* shape = site.shape(input);
    if (shape == nullptr) return;
    if (axis >= shape->size()) site.fail("the equation names more axes than input " + std::to_string(input) + " has");
    const Extent& own = (*shape)[axis];
    const auto [found, is_new] = extents.try_emplace(letter, own);
    const auto is_one = [](const Extent& extent) { return extent.is_known() && extent.value() == 1; };
    if (!is_new && !is_one(own) && (is_one(found->second) || !found->second.is_known())) found->second = own;
    ++axis;
  }
  Extents shape;
  for (const char letter : equation.substr(arrow + 2)) {
    const auto found = extents.find(letter);
    if (found == extents.end()) site.fail("the equation gives an axis that no input has");
    shape.push_back(found->second);
  }
  site.set_shape(0, std::move(shape));
}

void grid_sample(Site& site) {
  const Extents* in = site.shape(0);
  const Extents* grid = site.shape(1);
  if (in == nullptr || grid == nullptr || in->size() < 3 || grid->size() != in->size()) return;
  Extents shape{(*in)[0], (*in)[1]};
  shape.insert(shape.end(), grid->begin() + 1, grid->end() - 1);
  site.set_shape(0, std::move(shape));
}

void attention(Site& site) {
  const Extents* query = site.shape(0);
  const Extents* value = site.shape(2);
  if (query == nullptr || value == nullptr) return;
  Extents shape = *query;
  if (query->size() == 4 && value->size() == 4) {
    shape[3] = (*value)[3];
  } else if (query->size() == 3 && value->size() == 3) {
    const std::int64_t q_heads = site.node.int_attribute("q_num_heads", 0);
    const std::int64_t kv_heads = site.node.int_attribute("kv_num_heads", 0);
    const auto head = kv_heads > 0 ? divide_exactly((*value)[2], kv_heads) : std::nullopt;
    shape[2] = head ? *head * q_heads : Extent::fresh();
  } else {
    return;
  }
  site.set_shape(0, std::move(shape));
}

}  // namespace

void add_compute_rules(RuleTable& table) {
  table["Conv"] = conv;
  table["ConvTranspose"] = conv_transpose;
  table["MaxPool"] = pool;
  table["AveragePool"] = pool;
  table["LpPool"] = pool;
  table["GlobalAveragePool"] = global_pool;
  table["GlobalMaxPool"] = global_pool;
  table["GlobalLpPool"] = global_pool;
  table["MatMul"] = mat_mul;
  table["MatMulInteger"] = quantized_mat_mul;
  table["QLinearMatMul"] = quantized_mat_mul;
  table["Gemm"] = gemm;
  table["BatchNormalization"] = batch_normalization;
  table["LayerNormalization"] = layer_normalization;
  table["Resize"] = resize;
  table["Upsample"] = resize;
  table["Einsum"] = einsum;
  table["GridSample"] = grid_sample;
  table["Attention"] = attention;
  table["PagedAttention"] = paged_attention;
}

}  // namespace pajamas::shape_rules
