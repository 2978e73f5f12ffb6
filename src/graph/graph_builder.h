// GraphBuilder: writes a Graph operator by operator, as model definitions do when they turn a checkpoint into one.
// It names every node and value after the place in the model that is being built, so that verification and messages
// speak the checkpoint's language ("encoder.layer.3.attention.query/MatMul"), shares equal constants, and leaves shapes
// to shape inference. It does not know layers: those are functions of the model definitions, written on top of it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// Producer of the models that a GraphBuilder makes.
inline constexpr const char* kProducerName = "llama-pajamas";

/// The declaration of a tensor; with extents, every one of them is known.
ValueInfo tensor_value(std::string name, DType dtype, std::vector<Dimension> shape);
ValueInfo tensor_value(std::string name, DType dtype, std::span<const std::int64_t> extents);

/// A value of the graph under construction. Cheap to copy; means nothing outside its builder.
struct GraphValue {
  std::string name;  ///< Empty: an omitted optional input.
};

using NodeAttributes = std::initializer_list<std::pair<const char*, AttributeValue>>;

class GraphBuilder {
 public:
  /// `opset` of the default domain. 17 is the first with LayerNormalization, and old enough for every target.
  explicit GraphBuilder(std::string graph_name, std::int64_t opset = 17);

  /// While alive, everything added is named below `name`. Scopes nest: "encoder" then "layer.0" gives
  /// "encoder.layer.0".
  class Scope {
   public:
    ~Scope() { builder_.scope_.resize(outer_length_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    friend class GraphBuilder;
    Scope(GraphBuilder& builder, std::string_view name);
    GraphBuilder& builder_;
    std::size_t outer_length_;
  };
  [[nodiscard]] Scope scope(std::string_view name) { return {*this, name}; }
  /// Dotted path of the open scopes.
  const std::string& scope_path() const { return scope_; }

  /// A graph input. Throws Error{kInternal} when the name is taken.
  GraphValue input(const std::string& name, DType dtype, std::vector<Dimension> shape);
  /// Makes `value` a graph output called `name`, by an Identity node, so that inner names stay as they are.
  void output(const std::string& name, const GraphValue& value, DType dtype, std::vector<Dimension> shape);

  /// An initializer under exactly this name (a checkpoint's tensor name). The same name again gives the same value: one
  /// tensor is stored however often a model uses it. Throws Error{kInternal} when it comes with another tensor.
  GraphValue weight(const std::string& name, Tensor tensor);
  /// A small constant, named after its contents and stored once.
  GraphValue constant(Tensor tensor);
  GraphValue constant(float value) { return constant(Tensor::scalar(value)); }
  GraphValue integers(std::initializer_list<std::int64_t> values);
  GraphValue integers(std::span<const std::int64_t> values);

  /// One operator call with one output. The node and its value are named "<scope>/<op_type>", with a number behind from
  /// the second of a kind on.
  GraphValue node(std::string_view op_type, std::initializer_list<GraphValue> inputs, NodeAttributes attributes = {});
  GraphValue node(std::string_view op_type, std::span<const GraphValue> inputs, NodeAttributes attributes = {});
  /// One operator call with several outputs, named "<node>:0", "<node>:1", ...
  std::vector<GraphValue> node_with_outputs(std::string_view op_type, std::initializer_list<GraphValue> inputs,
                                            std::size_t num_outputs, NodeAttributes attributes = {});

  /// One operator call of a domain of our own ("pajamas"), whose `version` the model then imports; else as node().
  GraphValue node_of_domain(std::string_view domain, std::int64_t version, std::string_view op_type,
                            std::initializer_list<GraphValue> inputs, NodeAttributes attributes = {});

  /// The finished model: IR version, opset and producer set. The builder is empty afterwards.
  Model build();

 private:
  Node& add_node(std::string_view op_type, std::span<const GraphValue> inputs, NodeAttributes attributes);
  std::string unused_name(const std::string& stem);

  Graph graph_;
  std::int64_t opset_;
  std::map<std::string, std::int64_t, std::less<>> other_opsets_;  ///< By domain.
  std::string scope_;
  std::map<std::string, int, std::less<>> num_uses_of_name_;
  std::map<std::string, std::size_t, std::less<>> initializer_by_name_;
};

}  // namespace pajamas
