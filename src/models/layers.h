// Neural network layers written into a GraphBuilder with a checkpoint's weights: what the definitions of ViT, CLIP and
// ResNet share. A layer opens a scope of its name, and the path of scopes is the path of its weights: so the nodes
// carry the checkpoint's names, and no name is written twice.
#pragma once

#include <cstdint>
#include <string>

#include "base/json_reader.h"
#include "graph/graph_builder.h"
#include "models/checkpoint.h"

namespace pajamas {

/// Activations of transformers' ACT2FN that vision models and their text towers use.
enum class ActivationFunction {
  kLinear,
  kRelu,
  kRelu6,
  kGelu,       ///< Exact, by the error function: "gelu", "gelu_python".
  kGeluTanh,   ///< Its tanh approximation: "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate".
  kQuickGelu,  ///< x * sigmoid(1.702 x)
  kSilu,       ///< x * sigmoid(x): "silu", "swish"
  kSigmoid,
  kTanh,
};
/// The activation a configuration names under `key`. Throws Error{kUnsupported} naming key and value for another.
ActivationFunction read_activation(const JsonReader& config, const char* key, const std::string& fallback);

/// The activation of a float32 value, in operators of opset 17.
GraphValue activation(GraphBuilder& graph, ActivationFunction function, const GraphValue& x);

/// All values are float32; shapes are given per function. Borrowed builder and checkpoint must outlive the object.
class Layers {
 public:
  Layers(GraphBuilder& graph, Checkpoint& checkpoint) : graph_(graph), checkpoint_(checkpoint) {}

  /// [..., in_dim] to [..., out_dim]; weights "<name>.weight" [out_dim, in_dim] and "<name>.bias".
  GraphValue linear(const std::string& name, const GraphValue& x, std::int64_t in_dim, std::int64_t out_dim,
                    bool has_bias = true);
  /// Over the last axis.
  GraphValue layer_norm(const std::string& name, const GraphValue& x, std::int64_t dim, double epsilon);
  struct Convolution {
    std::int64_t in_channels = 0, out_channels = 0;
    std::int64_t kernel_height = 1, kernel_width = 1;
    std::int64_t stride_y = 1, stride_x = 1;
    std::int64_t padding = 0;  ///< On all four sides.
    bool has_bias = false;
  };
  /// [batch, in_channels, height, width]
  GraphValue convolution(const std::string& name, const GraphValue& x, const Convolution& convolution);
  /// Inference form with running statistics; epsilon 1e-5 is PyTorch's default.
  GraphValue batch_norm(const std::string& name, const GraphValue& x, std::int64_t channels, double epsilon = 1e-5);
  GraphValue activation(ActivationFunction function, const GraphValue& x) {
    return pajamas::activation(graph_, function, x);
  }

  /// Names of the projections below the open scope, and whether they have biases.
  struct AttentionNames {
    std::string query, key, value, out;
    bool has_qkv_bias = true;
  };
  /// Multi-head self-attention on [batch, seq_len, hidden_dim]; `mask` is added to the scores ([1, 1, seq_len,
  /// seq_len]) unless it is empty.
  GraphValue self_attention(const GraphValue& x, std::int64_t hidden_dim, std::int64_t num_heads,
                            const AttentionNames& names, const GraphValue& mask = {});

  /// Patches of a picture as a sequence with a class token before them: [batch, 3, height, width] to
  /// [batch, 1 + patches, hidden_dim]. `class_token` [hidden_dim] and `positions` [1 + patches, hidden_dim] are tensors
  /// of the checkpoint; the convolution called `name` has the patch's size as kernel and stride.
  GraphValue patch_embedding(const std::string& name, const GraphValue& pixels, const Convolution& convolution,
                             const Tensor& class_token, const Tensor& positions);
  /// Position 0 of [batch, seq_len, hidden_dim]: [batch, hidden_dim].
  GraphValue first_token(const GraphValue& x);

  GraphBuilder& graph() { return graph_; }
  Checkpoint& checkpoint() { return checkpoint_; }
  /// Full name of a tensor of the open scope.
  std::string tensor_name(const std::string& name) const {
    return graph_.scope_path().empty() ? name : graph_.scope_path() + "." + name;
  }

 private:
  GraphBuilder& graph_;
  Checkpoint& checkpoint_;
};

}  // namespace pajamas
