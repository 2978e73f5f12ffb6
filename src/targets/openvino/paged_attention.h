// pajamas.PagedAttention in OpenVINO: its place while a model is being imported, and the operator of OpenVINO that
// takes this place. Not the memory it reads and writes: paged_kv_cache.h.
//
// OpenVINO's PagedAttentionExtension has no public class. The public pass that turns stateful attention into it is run
// once on a model of one token and one head; the operator it leaves there is the pattern of all others.
#pragma once

#include <cstdint>
#include <memory>
#include <openvino/core/model.hpp>
#include <openvino/op/op.hpp>
#include <string>

namespace pajamas::openvino {

/// Attributes of pajamas.PagedAttention (docs/language.md).
struct PagedAttentionAttributes {
  std::int64_t layer_index = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  float scale = 1.0F;
  std::int64_t sliding_window = 0;
};

/// Stands for the operator between the import and insert_paged_attention(). Inputs as pajamas.PagedAttention.
class PagedAttentionMark final : public ov::op::Op {
 public:
  OPENVINO_OP("PagedAttentionMark", "pajamas")
  PagedAttentionMark() = default;
  PagedAttentionMark(const ov::OutputVector& inputs, const PagedAttentionAttributes& attributes);
  void validate_and_infer_types() override;
  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
  bool visit_attributes(ov::AttributeVisitor& visitor) override;
  const PagedAttentionAttributes& attributes() const { return attributes_; }
  /// Width of one head of the values; known after the construction.
  std::int64_t value_dim() const { return value_dim_; }

 private:
  PagedAttentionAttributes attributes_;
  std::int64_t value_dim_ = 0;
};

/// Names of the inputs that insert_paged_attention() adds for cache layer `layer_index`.
std::string key_cache_name(std::int64_t layer_index);
std::string value_cache_name(std::int64_t layer_index);

/// Puts OpenVINO's operator in the place of every mark, and appends the inputs of the caches. Types and shapes of these
/// are decided by the plugin when the model is compiled. Throws Error{kInternal} when this OpenVINO's operator is not
/// the known one, Error{kUnsupported} when layers are numbered twice or with gaps.
void insert_paged_attention(const std::shared_ptr<ov::Model>& model);

}  // namespace pajamas::openvino
