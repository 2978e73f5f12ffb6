// See recurrent.h. Gates and their order as ONNX has them: LSTM i, o, f, c; GRU z, r, h.
#include "targets/cuda/lowering/recurrent.h"

#include <algorithm>
#include <cctype>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;

/// Two steps of the program for each of these; beyond, lowering and the graph's launch take longer than is of use.
constexpr std::int64_t kMaxSteps = 1024;

class Recurrence {
 public:
  Recurrence(CountedGraph& graph, const Node& node) : graph_(graph), node_(node) {}

  void expand() {
    read_extents();
    const std::string x = is_batch_first_ ? transposed(node_.inputs[0], {1, 0, 2}) : node_.inputs[0];
    rows_ = graph_.reshape(x, {num_steps_ * batch_, input_size_});
    std::vector<Direction> found;
    for (std::int64_t d = 0; d < num_directions_; ++d) found.push_back(run(d));
    give(0, joined(found, &Direction::all, 1), {2, 0, 1, 3});
    give(1, joined(found, &Direction::state, 0), {1, 0, 2});
    if (node_.is("LSTM")) give(2, joined(found, &Direction::cell, 0), {1, 0, 2});
  }

 private:
  /// What one direction gives: [steps, 1, batch, hidden], [1, batch, hidden] twice.
  struct Direction {
    std::string all, state, cell;
  };

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorKind::kUnsupported, why, node_.describe(), "use another target for this part");
  }
  void require(bool condition, const char* why) const {
    if (!condition) refuse(why);
  }
  bool has(std::size_t i) const { return i < node_.inputs.size() && !node_.inputs[i].empty(); }
  bool gives(std::size_t i) const { return i < node_.outputs.size() && !node_.outputs[i].empty(); }
  std::string emit(const char* type, std::vector<std::string> inputs,
                   const std::vector<std::pair<const char*, AttributeValue>>& attributes = {}) {
    return graph_.emit(type, node_.name.empty() ? node_.op_type : node_.name, std::move(inputs), attributes);
  }
  std::string transposed(const std::string& value, const Ints& order) {
    return emit("Transpose", {value}, {{"perm", order}});
  }
  /// Empty stands for zero.
  std::string sum(const std::string& a, const std::string& b) {
    return a.empty() ? b : b.empty() ? a : emit("Add", {a, b});
  }
  /// Empty for zero, as in sum().
  std::string product(const std::string& a, const std::string& b) {
    return a.empty() || b.empty() ? std::string() : emit("Mul", {a, b});
  }
  std::string projected(const std::string& state, const std::string& weights) {
    return state.empty() ? std::string() : emit("MatMul", {state, weights});
  }

  void read_extents() {
    const std::size_t cell_inputs = node_.is("LSTM") ? 8 : 6;
    require(node_.inputs.size() >= 3 && node_.inputs.size() <= cell_inputs, "another number of inputs");
    for (const std::string& name : node_.inputs) {
      if (name.empty()) continue;
      const ValueFact* fact = graph_.facts().find(name);
      require(fact != nullptr && fact->static_shape() && fact->dtype != DType::kUndefined,
              "inputs whose extents are not known");
    }
    dtype_ = graph_.fact(node_.inputs[0]).dtype;
    require(is_floating_point(dtype_), "inputs that are no floats");
    is_batch_first_ = node_.int_attribute("layout", 0) != 0;
    const Ints x = graph_.bounds(node_.inputs[0]);
    const Ints weights = graph_.bounds(node_.inputs[1]);
    const Ints recurrent = graph_.bounds(node_.inputs[2]);
    require(x.size() == 3 && weights.size() == 3 && recurrent.size() == 3, "inputs of another rank than 3");
    num_steps_ = x[is_batch_first_ ? 1 : 0];
    batch_ = x[is_batch_first_ ? 0 : 1];
    input_size_ = x[2];
    num_directions_ = weights[0];
    hidden_ = recurrent[2];
    num_gates_ = node_.is("LSTM") ? 4 : node_.is("GRU") ? 3 : 1;
    const std::string direction = node_.string_attribute("direction", "forward");
    require(direction == "forward" || direction == "reverse" || direction == "bidirectional", "attribute 'direction'");
    require(num_directions_ == (direction == "bidirectional" ? 2 : 1), "weights of another number of directions");
    require(weights == Ints{num_directions_, num_gates_ * hidden_, input_size_} &&
                recurrent == Ints{num_directions_, num_gates_ * hidden_, hidden_},
            "weights of other extents than the gates");
    require(num_steps_ > 0 && batch_ > 0 && hidden_ > 0, "an empty sequence");
    require(num_steps_ <= kMaxSteps, "a sequence of more than 1,024 steps");
    require(node_.float_attribute("clip", 0) == 0, "attribute 'clip'");
    require(node_.int_attribute("input_forget", 0) == 0, "attribute 'input_forget'");
    if (has(4)) {
      const auto lengths = graph_.fact(node_.inputs[4]).known_elements();
      const bool is_whole = lengths && std::all_of(lengths->begin(), lengths->end(),
                                                   [&](std::int64_t length) { return length == num_steps_; });
      require(graph_.fact(node_.inputs[4]).dtype == DType::kInt32, "lengths of another type than int32");
      if (!is_whole) lengths_ = graph_.reshape(node_.inputs[4], {batch_, 1});
    }
    read_activations();
  }

  void read_activations() {
    const std::size_t count = node_.is("LSTM") ? 3 : node_.is("GRU") ? 2 : 1;
    std::vector<std::string> given;
    if (const Attribute* attribute = node_.find_attribute("activations")) {
      if (const auto* names = std::get_if<std::vector<std::string>>(&attribute->value)) given = *names;
    }
    for (std::int64_t d = 0; given.empty() && d < num_directions_; ++d) {
      for (std::size_t i = 0; i < count; ++i) activations_.push_back(count > 1 && i == 0 ? "Sigmoid" : "Tanh");
    }
    for (std::string name : given) {
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      const char* known = name == "sigmoid" ? "Sigmoid" : name == "tanh" ? "Tanh" : name == "relu" ? "Relu" : nullptr;
      require(known != nullptr, "an activation other than Sigmoid, Tanh and Relu");
      activations_.emplace_back(known);
    }
    require(activations_.size() == count * static_cast<std::size_t>(num_directions_),
            "another number of activations than gates want");
    num_activations_ = count;
  }

  /// Activation `which` of a direction.
  std::string activated(std::int64_t d, std::size_t which, const std::string& value) {
    return emit(activations_[static_cast<std::size_t>(d) * num_activations_ + which].c_str(), {value});
  }

  /// Gates from `first` to `end` of a direction's weights, [inner, gates · hidden].
  std::string weights(std::size_t input, std::int64_t d, std::int64_t first, std::int64_t end, std::int64_t inner) {
    std::string value = node_.inputs[input];
    if (num_directions_ > 1) value = graph_.part(value, 0, d, d + 1);
    value = graph_.reshape(value, {num_gates_ * hidden_, inner});
    if (end - first != num_gates_) value = graph_.part(value, 0, first * hidden_, end * hidden_);
    return transposed(value, {1, 0});
  }

  /// Gates from `first` to `end` of one half of a direction's biases, [gates · hidden]; empty where there are none.
  std::string bias(std::int64_t d, bool is_recurrent, std::int64_t first, std::int64_t end) {
    if (!has(3)) return {};
    const std::string both = graph_.reshape(node_.inputs[3], {num_directions_ * 2 * num_gates_ * hidden_});
    const std::int64_t start = (2 * d + (is_recurrent ? 1 : 0)) * num_gates_;
    return graph_.part(both, 0, (start + first) * hidden_, (start + end) * hidden_);
  }

  /// A direction's state to begin with, [batch, hidden]; empty for zeros.
  std::string initial(std::size_t input, std::int64_t d) {
    if (!has(input)) return {};
    const std::string own = graph_.part(node_.inputs[input], is_batch_first_ ? 1 : 0, d, d + 1);
    return graph_.reshape(own, {batch_, hidden_});
  }

  std::string gate(const std::string& gates, std::int64_t which) {
    return graph_.part(gates, 1, which * hidden_, (which + 1) * hidden_);
  }

  /// The peephole of a gate (0 input, 1 output, 2 forget) times the cell; empty where there is none.
  std::string peephole(std::int64_t d, std::int64_t which, const std::string& cell) {
    if (!has(7) || cell.empty()) return {};
    const std::string all = graph_.reshape(node_.inputs[7], {num_directions_ * 3 * hidden_});
    return product(graph_.part(all, 0, (3 * d + which) * hidden_, (3 * d + which + 1) * hidden_), cell);
  }

  /// The new value where the sequence reaches step t, else the old one.
  std::string kept(std::int64_t t, const std::string& fresh, const std::string& old) {
    if (lengths_.empty() || fresh.empty()) return fresh;
    const std::string is_real = emit("Less", {graph_.constant(Tensor::scalar(static_cast<std::int32_t>(t))), lengths_});
    const std::string zero = graph_.constant(neutral_number(dtype_, Neutral::kZero));
    return emit("Where", {is_real, fresh, old.empty() ? zero : old});
  }

  Direction run(std::int64_t d) {
    const bool is_reverse = d == 1 || node_.string_attribute("direction", "forward") == "reverse";
    const bool is_gru = node_.is("GRU");
    const bool is_late = is_gru && node_.int_attribute("linear_before_reset", 0) != 0;
    // A GRU's last gate has its recurrent bias within what the reset gate hides.
    std::string input_bias = bias(d, false, 0, num_gates_);
    if (has(3) && !is_gru) input_bias = sum(input_bias, bias(d, true, 0, num_gates_));
    const std::string inputs =
        graph_.reshape(sum(emit("MatMul", {rows_, weights(1, d, 0, num_gates_, input_size_)}), input_bias),
                       {num_steps_, batch_, num_gates_ * hidden_});
    std::string h = initial(5, d);
    std::string c = node_.is("LSTM") ? initial(6, d) : std::string();
    const std::int64_t num_joint = is_gru ? 2 : num_gates_;
    const std::string joint = weights(2, d, 0, num_joint, hidden_);
    const std::string last = is_gru ? weights(2, d, 2, 3, hidden_) : std::string();
    std::vector<std::string> states(static_cast<std::size_t>(num_steps_));
    for (std::int64_t step = 0; step < num_steps_; ++step) {
      const std::int64_t t = is_reverse ? num_steps_ - 1 - step : step;
      const std::string old_state = h;
      const std::string old_cell = c;
      const std::string x = graph_.reshape(graph_.part(inputs, 0, t, t + 1), {batch_, num_gates_ * hidden_});
      if (node_.is("LSTM")) {
        const std::string gates = sum(projected(h, joint), x);
        const std::string in = activated(d, 0, sum(gate(gates, 0), peephole(d, 0, c)));
        const std::string forget = activated(d, 0, sum(gate(gates, 2), peephole(d, 2, c)));
        c = sum(product(forget, c), product(in, activated(d, 1, gate(gates, 3))));
        const std::string out = activated(d, 0, sum(gate(gates, 1), peephole(d, 1, c)));
        h = product(out, activated(d, 2, c));
      } else if (is_gru) {
        std::string gates = sum(projected(h, joint), graph_.part(x, 1, 0, 2 * hidden_));
        gates = activated(d, 0, sum(gates, bias(d, true, 0, 2)));
        const std::string update = gate(gates, 0);
        const std::string reset = gate(gates, 1);
        const std::string hidden_bias = bias(d, true, 2, 3);
        const std::string recurrent = is_late ? product(reset, sum(projected(h, last), hidden_bias))
                                              : sum(projected(product(reset, h), last), hidden_bias);
        const std::string fresh = activated(d, 1, sum(gate(x, 2), recurrent));
        // (1 - z)·fresh + z·h, with one product less.
        h = h.empty() ? emit("Sub", {fresh, product(update, fresh)})
                      : sum(fresh, product(update, emit("Sub", {h, fresh})));
      } else {
        h = activated(d, 0, sum(projected(h, joint), x));
      }
      states[static_cast<std::size_t>(t)] = kept(t, h, {});
      h = kept(t, h, old_state);
      c = kept(t, c, old_cell);
    }
    Direction made;
    if (gives(0)) {
      std::vector<std::string> steps;
      for (const std::string& state : states) steps.push_back(graph_.reshape(state, {1, 1, batch_, hidden_}));
      made.all = num_steps_ == 1 ? steps[0] : emit("Concat", steps, {{"axis", std::int64_t{0}}});
    }
    if (gives(1)) made.state = graph_.reshape(h, {1, batch_, hidden_});
    if (gives(2)) made.cell = graph_.reshape(c, {1, batch_, hidden_});
    return made;
  }

  std::string joined(const std::vector<Direction>& found, std::string Direction::*part, std::int64_t axis) {
    if (found.size() == 1) return found[0].*part;
    if ((found[0].*part).empty()) return {};
    return emit("Concat", {found[0].*part, found[1].*part}, {{"axis", axis}});
  }

  void give(std::size_t output, const std::string& value, const Ints& batch_first) {
    if (!gives(output)) return;
    Node node;
    node.op_type = is_batch_first_ ? "Transpose" : "Identity";
    if (is_batch_first_) node.set_attribute("perm", batch_first);
    node.name = graph_.name_like(node_.outputs[output] + "/" + node.op_type);
    node.inputs = {value};
    node.outputs = {node_.outputs[output]};
    graph_.push(std::move(node));
  }

  CountedGraph& graph_;
  const Node& node_;
  DType dtype_ = DType::kUndefined;
  bool is_batch_first_ = false;
  std::int64_t num_steps_ = 0, batch_ = 0, input_size_ = 0, num_directions_ = 1, hidden_ = 0, num_gates_ = 0;
  std::vector<std::string> activations_;
  std::size_t num_activations_ = 0;
  std::string rows_;
  std::string lengths_;  ///< [batch, 1]; empty where all sequences are whole.
};

}  // namespace

bool is_recurrent(const Node& node) { return node.is("LSTM") || node.is("GRU") || node.is("RNN"); }

void expand_recurrent(CountedGraph& graph, const Node& node) { Recurrence(graph, node).expand(); }

}  // namespace pajamas::cuda
