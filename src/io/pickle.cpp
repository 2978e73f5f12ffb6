// See pickle.h.
#include "io/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <string_view>

#include "io/byte_cursor.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using Kind = PickleValue::Kind;

/// What a checkpoint may name. Storage types are any name of torch that ends so.
constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kStorageEnd = "Storage";
constexpr std::array<std::string_view, 9> kStorages{"FloatStorage",  "HalfStorage", "BFloat16Storage",
                                                    "DoubleStorage", "LongStorage", "IntStorage",
                                                    "ShortStorage",  "CharStorage", "ByteStorage"};
constexpr std::size_t kMark = SIZE_MAX;
/// A hundred times those of Whisper large, and some 200 MB.
constexpr std::size_t kMaxValues = 1 << 20;
constexpr std::size_t kMaxRank = 16;
/// Names of storages are numbers; each storage holds its own.
constexpr std::size_t kMaxKeyBytes = 256;

class PickleReader {
 public:
  PickleReader(std::span<const std::byte> bytes, const std::string& where) : cursor_(bytes, where), where_(where) {}

  Pickle read() {
    for (bool is_running = true; is_running;) is_running = step();
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { cursor_.fail("is a pickle that " + message); }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(
        ErrorKind::kUnsupported,
        "is a pickle that " + what + "; only tensors, containers, numbers and texts are read, and nothing is run",
        where_, "save the tensors alone: torch.save(model.state_dict(), file), or as safetensors");
  }

  std::size_t make(PickleValue value) {
    if (pickle_.values.size() >= kMaxValues) fail("has too many values");
    pickle_.values.push_back(std::move(value));
    return pickle_.values.size() - 1;
  }
  void push(PickleValue value) { stack_.push_back(make(std::move(value))); }
  void push_integer(std::int64_t integer) { push(integer_value(integer)); }
  static PickleValue integer_value(std::int64_t integer) {
    PickleValue value;
    value.kind = Kind::kInteger;
    value.integer = integer;
    return value;
  }
  void push_text(std::uint64_t length) {
    PickleValue value;
    value.kind = Kind::kText;
    value.text = cursor_.text(length, "a text of the pickle");
    push(std::move(value));
  }
  void push_container(Kind kind, std::vector<std::size_t> members) {
    PickleValue value;
    value.kind = kind;
    value.members = std::move(members);
    push(std::move(value));
  }

  std::size_t pop() {
    if (stack_.empty() || stack_.back() == kMark) fail("takes what is not there");
    const std::size_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  /// What lies above the last mark; the mark goes.
  std::vector<std::size_t> pop_marked() {
    const auto mark = std::find(stack_.rbegin(), stack_.rend(), kMark);
    if (mark == stack_.rend()) fail("takes what is not there");
    std::vector<std::size_t> items(mark.base(), stack_.end());
    stack_.erase(mark.base() - 1, stack_.end());
    return items;
  }
  PickleValue& top(Kind kind, const char* what) {
    if (stack_.empty() || stack_.back() == kMark || pickle_.values[stack_.back()].kind != kind) {
      fail(std::string("should have ") + what + " here");
    }
    return pickle_.values[stack_.back()];
  }

  void remember(std::uint64_t index) {
    if (stack_.empty() || stack_.back() == kMark) fail("remembers what is not there");
    memo_[index] = stack_.back();
  }
  void recall(std::uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) fail("recalls what it never remembered");
    stack_.push_back(found->second);
  }

  std::string line() {
    std::string text;
    for (char c = cursor_.number<char>("a name of the pickle"); c != '\n';
         c = cursor_.number<char>("a name of the pickle")) {
      text += c;
    }
    return text;
  }
  void push_global(const std::string& name) {
    bool is_known = name == kOrderedDict || name == kRebuildTensor || name == kRebuildParameter;
    if (name.starts_with("torch.") && name.ends_with(kStorageEnd)) {
      const std::string_view type = std::string_view(name).substr(std::string_view("torch.").size());
      is_known = std::find(kStorages.begin(), kStorages.end(), type) != kStorages.end();
    }
    if (!is_known) refuse("names '" + name + "'");
    PickleValue value;
    value.kind = Kind::kGlobal;
    value.text = name;
    push(std::move(value));
  }

  const PickleValue& value(std::size_t index) const { return pickle_.values[index]; }
  std::vector<std::int64_t> integers_of(std::size_t index, const char* what) const {
    const PickleValue& tuple = value(index);
    if (tuple.kind != Kind::kTuple || tuple.members.size() > kMaxRank) fail(std::string("has no ") + what);
    std::vector<std::int64_t> result;
    for (const std::size_t member : tuple.members) {
      if (value(member).kind != Kind::kInteger) fail(std::string("has no ") + what);
      result.push_back(value(member).integer);
    }
    return result;
  }

  /// ("storage", type, key, device, number of elements): what torch puts in place of the bytes.
  void push_persistent() {
    const std::size_t id = pop();
    const PickleValue& tuple = value(id);
    const auto& members = tuple.members;
    const bool is_storage = tuple.kind == Kind::kTuple && members.size() == 5 &&
                            value(members[0]).kind == Kind::kText && value(members[0]).text == "storage" &&
                            value(members[1]).kind == Kind::kGlobal && value(members[1]).text.ends_with(kStorageEnd) &&
                            value(members[2]).kind == Kind::kText && value(members[2]).text.size() <= kMaxKeyBytes;
    if (!is_storage) refuse("refers to something outside that is no storage");
    PickleValue storage;
    storage.kind = Kind::kStorage;
    storage.text = value(members[1]).text.substr(std::string_view("torch.").size());
    storage.key = value(members[2]).text;
    push(std::move(storage));
  }

  void reduce() {
    const std::size_t arguments_index = pop();
    const std::size_t function_index = pop();
    if (value(function_index).kind != Kind::kGlobal || value(arguments_index).kind != Kind::kTuple) {
      fail("calls what is no function");
    }
    // Not copies: a pickle may give the same million arguments to every call.
    const std::string& function = value(function_index).text;
    const std::vector<std::size_t>& arguments = value(arguments_index).members;
    if (function == kOrderedDict) {
      if (!arguments.empty()) fail("makes a dictionary of arguments");
      return push_container(Kind::kDictionary, {});
    }
    if (function == kRebuildParameter) {
      if (arguments.size() < 2 || value(arguments[0]).kind != Kind::kTensor) fail("makes a parameter of no tensor");
      stack_.push_back(arguments[0]);
      return;
    }
    if (function != kRebuildTensor) refuse("calls '" + function + "'");
    const bool is_tensor = arguments.size() >= 4 && value(arguments[0]).kind == Kind::kStorage &&
                           value(arguments[1]).kind == Kind::kInteger;
    if (!is_tensor) fail("makes a tensor of no storage");
    PickleValue tensor;
    tensor.kind = Kind::kTensor;
    tensor.storage = arguments[0];
    tensor.integer = value(arguments[1]).integer;
    tensor.sizes = integers_of(arguments[2], "sizes of a tensor");
    tensor.strides = integers_of(arguments[3], "strides of a tensor");
    if (tensor.sizes.size() != tensor.strides.size()) fail("has a tensor with other strides than sizes");
    push(std::move(tensor));
  }

  void append(std::vector<std::size_t> items) {
    auto& members = top(Kind::kList, "a list").members;
    members.insert(members.end(), items.begin(), items.end());
  }
  void set(std::vector<std::size_t> items) {
    if (items.size() % 2 != 0) fail("has a key without a value");
    auto& members = top(Kind::kDictionary, "a dictionary").members;
    members.insert(members.end(), items.begin(), items.end());
  }

  /// A little-endian integer of up to 8 bytes.
  void push_long(std::uint64_t length) {
    const auto bytes = cursor_.take(length, "a number of the pickle");
    if (bytes.size() > sizeof(std::uint64_t)) fail("has a number past 64 bits");
    std::uint64_t number = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) number = number << 8U | std::to_integer<std::uint64_t>(bytes[i]);
    const std::size_t num_bits = 8 * bytes.size();
    if (num_bits > 0 && num_bits < 64 && (number >> (num_bits - 1) & 1U) != 0) number |= ~std::uint64_t{0} << num_bits;
    push_integer(std::bit_cast<std::int64_t>(number));
  }
  void push_float() {
    auto bits = cursor_.number<std::uint64_t>("a number of the pickle");
    std::uint64_t swapped = 0;  // Big-endian, of all.
    for (int i = 0; i < 8; ++i, bits >>= 8U) swapped = swapped << 8U | (bits & 0xffU);
    PickleValue value;
    value.kind = Kind::kNumber;
    value.number = std::bit_cast<double>(swapped);
    push(std::move(value));
  }
  void push_bool(bool is_true) {
    PickleValue value;
    value.kind = Kind::kBool;
    value.integer = is_true ? 1 : 0;
    push(std::move(value));
  }
  void push_tuple(std::size_t count) {
    std::vector<std::size_t> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push_container(Kind::kTuple, std::move(items));
  }

  /// One operation; false behind the last.
  bool step() {
    const auto operation = cursor_.number<std::uint8_t>("the pickle");
    switch (operation) {
      case 0x80: {  // PROTO
        const auto protocol = cursor_.number<std::uint8_t>("the pickle");
        if (protocol < 2 || protocol > 5) refuse("is of protocol " + std::to_string(protocol));
        break;
      }
      case 0x95: cursor_.take(8, "the pickle"); break;  // FRAME
      case '.':                                         // STOP
        pickle_.root = pop();
        return false;
      case '(': stack_.push_back(kMark); break;
      case '0': pop(); break;
      case '1': pop_marked(); break;
      case 'N': push({}); break;
      case 0x88: push_bool(true); break;
      case 0x89: push_bool(false); break;
      case 'J': push_integer(cursor_.number<std::int32_t>("a number of the pickle")); break;
      case 'K': push_integer(cursor_.number<std::uint8_t>("a number of the pickle")); break;
      case 'M': push_integer(cursor_.number<std::uint16_t>("a number of the pickle")); break;
      case 0x8a: push_long(cursor_.number<std::uint8_t>("a number of the pickle")); break;
      case 'G': push_float(); break;
      case 'X': push_text(cursor_.number<std::uint32_t>("a text of the pickle")); break;
      case 0x8c: push_text(cursor_.number<std::uint8_t>("a text of the pickle")); break;
      case 0x8d: push_text(cursor_.number<std::uint64_t>("a text of the pickle")); break;
      case ')': push_container(Kind::kTuple, {}); break;
      case ']': push_container(Kind::kList, {}); break;
      case '}': push_container(Kind::kDictionary, {}); break;
      case 't': push_container(Kind::kTuple, pop_marked()); break;
      case 'l': push_container(Kind::kList, pop_marked()); break;
      case 0x85: push_tuple(1); break;
      case 0x86: push_tuple(2); break;
      case 0x87: push_tuple(3); break;
      case 'a': append({pop()}); break;
      case 'e': append(pop_marked()); break;
      case 's': {
        const std::size_t item = pop();
        const std::size_t key = pop();
        set({key, item});
        break;
      }
      case 'u': set(pop_marked()); break;
      case 'q': remember(cursor_.number<std::uint8_t>("the pickle")); break;
      case 'r': remember(cursor_.number<std::uint32_t>("the pickle")); break;
      case 0x94: remember(memo_.size()); break;
      case 'h': recall(cursor_.number<std::uint8_t>("the pickle")); break;
      case 'j': recall(cursor_.number<std::uint32_t>("the pickle")); break;
      case 'c': {
        const std::string module = line();
        const std::string name = line();
        push_global(module + "." + name);
        break;
      }
      case 0x93: {
        const std::size_t name = pop();
        const std::size_t module = pop();
        if (value(name).kind != Kind::kText || value(module).kind != Kind::kText) fail("names what is no text");
        push_global(value(module).text + "." + value(name).text);
        break;
      }
      case 'Q': push_persistent(); break;
      case 'R': reduce(); break;
      case 'b': {
        // State of a dictionary (the versions of a state_dict's modules): not needed. Of anything else it would be run.
        pop();
        top(Kind::kDictionary, "a dictionary");
        break;
      }
      default: {
        constexpr const char* kDigits = "0123456789abcdef";
        refuse(std::string("has the operation 0x") + kDigits[operation >> 4U] + kDigits[operation & 15U]);
      }
    }
    return true;
  }

  ByteCursor cursor_;
  const std::string& where_;
  Pickle pickle_;
  std::vector<std::size_t> stack_;  ///< kMark stands for a mark.
  std::map<std::uint64_t, std::size_t> memo_;
};

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where) {
  return PickleReader(bytes, where).read();
}

}  // namespace pajamas
