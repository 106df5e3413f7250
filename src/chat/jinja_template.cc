#include "chat/jinja_template.h"

#include <algorithm>

#include "base/utf8.h"
#include "chat/jinja_builtins.h"
#include "chat/jinja_parser.h"

namespace outrider::chat::jinja {
namespace {

constexpr size_t kMaxSourceBytes = size_t{1} << 20;
constexpr size_t kMaxOutputBytes = size_t{64} << 20;
constexpr int kMaxVisits = 400;  // of visits inside visits, over all macro calls

// The variables of one block. Macros look into the frame that they were made in, without keeping it alive.
struct Frame {
  std::shared_ptr<Frame> parent;
  std::vector<std::pair<std::string, Value>> variables;
};
using FramePtr = std::shared_ptr<Frame>;

class Renderer {
 public:
  explicit Renderer(const Json& variables) : globals_(std::make_shared<Frame>()) {
    for (const auto& [name, value] : variables.items())
      globals_->variables.emplace_back(name, Value::from_json(value));
  }
  Renderer(const Renderer&) = delete;
  ~Renderer() {  // namespaces and loops may hold themselves
    for (const auto& space : namespaces_) space->attributes.clear();
    for (const auto& loop : changed_loops_) loop->changed = {};
  }

  std::string render(const Statements& tree) { return captured(tree, inner(globals_)); }

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // Bounds recursion and counts work.
  class Visit {
   public:
    explicit Visit(Renderer& renderer) : renderer_(renderer) {
      renderer_.budget_.spend(1);
      if (++renderer_.depth_ > kMaxVisits) {
        --renderer_.depth_;
        throw Error("the chat template calls itself too deep");
      }
    }
    ~Visit() { --renderer_.depth_; }

   private:
    Renderer& renderer_;
  };

  static FramePtr inner(const FramePtr& parent) { return std::make_shared<Frame>(Frame{parent, {}}); }

  // --- statements ---
  std::string captured(const Statements& body, const FramePtr& frame);
  void write(std::string_view text);
  Flow run(const Statements& body, const FramePtr& frame);
  Flow run(const Statement& statement, const FramePtr& frame);
  Flow run_if(const Statement& statement, const FramePtr& frame);
  Flow run_for(const Statement& statement, const FramePtr& frame);
  std::vector<Value> loop_items(const Statement& statement, const FramePtr& frame);
  void run_call_block(const Statement& statement, const FramePtr& frame);
  void assign(const Expression& target, const Value& value, Frame& frame);
  Value macro(const Statement& statement, const FramePtr& frame);
  Value call_macro(const Statement& statement, const FramePtr& defined_in, const Arguments& arguments);

  // --- expressions ---
  Value evaluate(const Expression& node, const FramePtr& frame);
  Value lookup(const std::string& name, const Frame& frame);
  Value unary(const Expression& node, const FramePtr& frame);
  Value compare(const Expression& node, const FramePtr& frame);
  Value concatenate(const Expression& node, const FramePtr& frame);
  Value slice(const Expression& node, const FramePtr& frame);
  Value attribute(const Value& object, const std::string& name);
  Value loop_attribute(const std::shared_ptr<Loop>& loop, const std::string& name);
  Value call(const Expression& node, const FramePtr& frame, const Value* caller);
  Value filter(const Expression& node, const FramePtr& frame, const Value* body);
  Value make_namespace(const Arguments& arguments);
  std::vector<Value> values(const Expression& node, size_t from, const FramePtr& frame);
  Arguments arguments(const Expression& node, const FramePtr& frame);
  std::optional<Integer> bound(const Expression& node, size_t child, const FramePtr& frame);

  Budget budget_;
  int depth_ = 0;
  int loop_depth_ = 0;
  std::string* out_ = nullptr;
  FramePtr globals_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<Loop>> changed_loops_;
};

std::string Renderer::captured(const Statements& body, const FramePtr& frame) {
  std::string text;
  std::string* const before = std::exchange(out_, &text);
  try {
    run(body, frame);
  } catch (...) {
    out_ = before;
    throw;
  }
  out_ = before;
  return text;
}

void Renderer::write(std::string_view text) {
  budget_.spend_bytes(text.size());
  if (out_->size() + text.size() > kMaxOutputBytes) throw Error("the chat template writes too much");
  out_->append(text);
}

Renderer::Flow Renderer::run(const Statements& body, const FramePtr& frame) {
  for (const Statement& statement : body) {
    if (const Flow flow = run(statement, frame); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::run(const Statement& statement, const FramePtr& frame) {
  using Kind = Statement::Kind;
  const Visit visit(*this);
  switch (statement.kind) {
    case Kind::kText:
      write(statement.name);
      break;
    case Kind::kPrint:
      write(evaluate(*statement.expression, frame).text());
      break;
    case Kind::kIf:
      return run_if(statement, frame);
    case Kind::kFor:
      return run_for(statement, frame);
    case Kind::kSet:
      assign(*statement.target, evaluate(*statement.expression, frame), *frame);
      break;
    case Kind::kSetBlock: {
      Value text = captured(*statement.body, inner(frame));
      if (statement.expression != nullptr) text = filter(*statement.expression, frame, &text);
      assign(*statement.target, text, *frame);
      break;
    }
    case Kind::kWith: {
      const FramePtr block = inner(frame);
      for (const auto& [target, value] : statement.assignments)
        assign(*target, evaluate(*value, frame), *block);
      return run(*statement.body, block);
    }
    case Kind::kMacro:
      assign(Expression{.kind = Expression::Kind::kName, .name = statement.name}, macro(statement, frame),
             *frame);
      break;
    case Kind::kCallBlock:
      run_call_block(statement, frame);
      break;
    case Kind::kFilter: {
      const Value text = captured(*statement.body, inner(frame));
      write(filter(*statement.expression, frame, &text).text());
      break;
    }
    case Kind::kScope:
      return run(*statement.body, frame);
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::run_if(const Statement& statement, const FramePtr& frame) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition == nullptr || evaluate(*branch.condition, frame).truth())
      return run(*branch.body, frame);
  }
  return Flow::kNext;
}

// All items, less those that the loop's `if` leaves out.
std::vector<Value> Renderer::loop_items(const Statement& statement, const FramePtr& frame) {
  std::vector<Value> items = items_of(evaluate(*statement.expression, frame), budget_);
  if (statement.condition == nullptr) return items;
  std::erase_if(items, [&](const Value& item) {
    const FramePtr block = inner(frame);
    assign(*statement.target, item, *block);
    return !evaluate(*statement.condition, block).truth();
  });
  return items;
}

Renderer::Flow Renderer::run_for(const Statement& statement, const FramePtr& frame) {
  auto loop = std::make_shared<Loop>();
  loop->items = std::make_shared<const List>(List{loop_items(statement, frame)});
  const size_t count = loop->items->items.size();
  if (count == 0)
    return statement.otherwise != nullptr ? run(*statement.otherwise, inner(frame)) : Flow::kNext;
  loop->depth = ++loop_depth_;
  for (; loop->index < count; ++loop->index) {
    budget_.spend(1);
    const FramePtr block = inner(frame);
    block->variables.emplace_back("loop", Value(Value::Data(loop)));
    assign(*statement.target, loop->items->items[loop->index], *block);
    if (run(*statement.body, block) == Flow::kBreak) break;
  }
  --loop_depth_;
  return Flow::kNext;
}

void Renderer::run_call_block(const Statement& statement, const FramePtr& frame) {
  const Value caller = macro(statement, frame);
  write(call(*statement.expression, frame, &caller).text());
}

void Renderer::assign(const Expression& target, const Value& value, Frame& frame) {
  if (target.kind == Expression::Kind::kTuple) {
    const std::vector<Value> items = items_of(value, budget_);
    if (items.size() != target.children.size()) {
      throw Error("cannot unpack " + std::to_string(items.size()) + " values into " +
                  std::to_string(target.children.size()) + " names");
    }
    for (size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i], frame);
    return;
  }
  if (target.kind == Expression::Kind::kAttribute) {
    Namespace* space = lookup(target.children[0]->name, frame).name_space();
    if (space == nullptr) throw Error("cannot assign attribute on non-namespace object");
    if (Value* found = space->find(target.name)) {
      *found = value;
    } else {
      budget_.spend(space->attributes.size());
      space->attributes.emplace_back(target.name, value);
    }
    return;
  }
  for (auto& [name, own] : frame.variables) {
    if (name == target.name) {
      own = value;
      return;
    }
  }
  frame.variables.emplace_back(target.name, value);
}

Value Renderer::macro(const Statement& statement, const FramePtr& frame) {
  auto made = std::make_shared<Callable>();
  made->name = statement.name;
  made->call = [this, &statement, home = std::weak_ptr<Frame>(frame)](const Arguments& arguments) {
    const FramePtr defined_in = home.lock();
    if (defined_in == nullptr)
      throw Error("the macro '" + statement.name + "' is called outside of its block");
    return call_macro(statement, defined_in, arguments);
  };
  return Value(Value::Data(std::shared_ptr<const Callable>(std::move(made))));
}

Value Renderer::call_macro(const Statement& statement, const FramePtr& defined_in, const Arguments& given) {
  const Visit visit(*this);
  const FramePtr frame = inner(defined_in);
  const std::vector<Parameter>& parameters = statement.parameters;
  const auto set = [&](const std::string& name, Value value) {
    frame->variables.emplace_back(name, std::move(value));
  };
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    if (const Value* value = argument(given, i, parameter.name)) {
      set(parameter.name, *value);
    } else if (parameter.initial != nullptr) {
      set(parameter.name, evaluate(*parameter.initial, frame));
    } else {
      set(parameter.name, Undefined{"parameter '" + parameter.name + "' was not provided"});
    }
  }
  std::vector<std::pair<Value, Value>> rest;
  for (const auto& [name, value] : given.keywords) {
    const bool known =
        std::any_of(parameters.begin(), parameters.end(),
                    [&, &key = name](const Parameter& parameter) { return parameter.name == key; });
    if (!known && name == "caller") set(name, value);
    if (!known && name != "caller") rest.emplace_back(name, value);
  }
  const size_t taken = std::min(parameters.size(), given.positional.size());
  set("varargs",
      Value::list({given.positional.begin() + static_cast<std::ptrdiff_t>(taken), given.positional.end()},
                  true));
  set("kwargs", Value::dict(std::move(rest)));
  return captured(*statement.body, frame);
}

Value Renderer::lookup(const std::string& name, const Frame& frame) {
  for (const Frame* at = &frame; at != nullptr; at = at->parent.get()) {
    for (const auto& [own, value] : at->variables) {
      if (own == name) return value;
    }
  }
  if (name == "namespace") {
    auto function = std::make_shared<Callable>();
    function->name = name;
    function->call = [this](const Arguments& arguments) { return make_namespace(arguments); };
    return Value(Value::Data(std::shared_ptr<const Callable>(std::move(function))));
  }
  if (auto found = find_global(name, budget_)) return *std::move(found);
  return Undefined{"'" + name + "' is undefined"};
}

Value Renderer::make_namespace(const Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  namespaces_.push_back(space);
  for (const Value& value : arguments.positional) {
    if (value.dict() == nullptr) throw Error("namespace takes dictionaries and keywords");
    for (const auto& [key, item] : value.dict()->items) space->attributes.emplace_back(key.text(), item);
  }
  for (const auto& [name, value] : arguments.keywords) {
    if (Value* found = space->find(name)) {
      *found = value;
    } else {
      space->attributes.emplace_back(name, value);
    }
  }
  budget_.spend(space->attributes.size());
  return Value(Value::Data(std::move(space)));
}

std::vector<Value> Renderer::values(const Expression& node, size_t from, const FramePtr& frame) {
  std::vector<Value> out;
  for (size_t i = from; i < node.children.size(); ++i) out.push_back(evaluate(*node.children[i], frame));
  return out;
}

Arguments Renderer::arguments(const Expression& node, const FramePtr& frame) {
  Arguments out{values(node, 1, frame), {}};
  for (const auto& [name, value] : node.keywords) out.keywords.emplace_back(name, evaluate(*value, frame));
  return out;
}

Value Renderer::evaluate(const Expression& node, const FramePtr& frame) {
  using Kind = Expression::Kind;
  const Visit visit(*this);
  const auto child = [&](size_t i) { return evaluate(*node.children[i], frame); };
  switch (node.kind) {
    case Kind::kConstant:
      return node.value;
    case Kind::kName:
      return lookup(node.name, *frame);
    case Kind::kList:
    case Kind::kTuple:
      return Value::list(values(node, 0, frame), node.kind == Kind::kTuple);
    case Kind::kDict: {
      std::vector<std::pair<Value, Value>> items;
      for (size_t i = 0; i + 1 < node.children.size(); i += 2) items.emplace_back(child(i), child(i + 1));
      return Value::dict(std::move(items));
    }
    case Kind::kUnary:
      return unary(node, frame);
    case Kind::kBinary: {
      const Value left = child(0);
      return binary(node.name, left, child(1), budget_);
    }
    case Kind::kAnd: {
      const Value left = child(0);
      return left.truth() ? child(1) : left;
    }
    case Kind::kOr: {
      const Value left = child(0);
      return left.truth() ? left : child(1);
    }
    case Kind::kConcat:
      return concatenate(node, frame);
    case Kind::kCompare:
      return compare(node, frame);
    case Kind::kCondition:
      if (child(1).truth()) return child(0);
      return node.children[2] != nullptr ? child(2)
                                         : Value(Undefined{"the inline if-expression has no else"});
    case Kind::kAttribute:
      return attribute(child(0), node.name);
    case Kind::kItem: {
      const Value object = child(0);
      const Value key = child(1);
      return key.is_string() && object.loop() != nullptr         ? attribute(object, *key.string())
             : key.is_string() && object.name_space() != nullptr ? attribute(object, *key.string())
                                                                 : item_of(object, key, budget_);
    }
    case Kind::kSlice:
      return slice(node, frame);
    case Kind::kCall:
      return call(node, frame, nullptr);
    case Kind::kFilter:
      return filter(node, frame, nullptr);
    case Kind::kTest:
      return apply_test(node.name, child(0), arguments(node, frame), budget_);
  }
  return {};
}

Value Renderer::unary(const Expression& node, const FramePtr& frame) {
  const Value value = evaluate(*node.children[0], frame);
  if (node.name == "not") return !value.truth();
  if (value.is_undefined()) refuse_undefined(value);
  if (!value.is_number()) {
    throw Error(std::string("bad operand type for unary ") + node.name + ": '" + value.type_name() + "'");
  }
  if (node.name == "+") return binary("+", Value(0), value, budget_);
  return value.is_float() ? Value(-value.number()) : binary("-", Value(0), value, budget_);
}

Value Renderer::compare(const Expression& node, const FramePtr& frame) {
  Value left = evaluate(*node.children[0], frame);
  for (size_t i = 0; i < node.operators.size(); ++i) {
    Value right = evaluate(*node.children[i + 1], frame);
    if (!compares(node.operators[i], left, right, budget_)) return false;
    left = std::move(right);
  }
  return true;
}

Value Renderer::concatenate(const Expression& node, const FramePtr& frame) {
  std::string out;
  for (const ExpressionPtr& child : node.children) {
    const Value value = evaluate(*child, frame);
    const std::string text = value.text();
    budget_.spend_bytes(text.size());
    if (out.size() + text.size() > kMaxOutputBytes) throw Error("a string grows too long");
    out += text;
  }
  return out;
}

std::optional<Integer> Renderer::bound(const Expression& node, size_t child, const FramePtr& frame) {
  if (node.children[child] == nullptr) return std::nullopt;
  const Value value = evaluate(*node.children[child], frame);
  if (value.is_none()) return std::nullopt;
  if (!value.is_integer()) throw Error("slice indices must be integers or None");
  // No sequence is longer; the sums in slice_of stay in range.
  return std::clamp<Integer>(value.integer(), INT64_MIN, INT64_MAX);
}

Value Renderer::slice(const Expression& node, const FramePtr& frame) {
  const Value object = evaluate(*node.children[0], frame);
  const auto begin = bound(node, 1, frame), end = bound(node, 2, frame), step = bound(node, 3, frame);
  return slice_of(object, begin, end, step.value_or(1), budget_);
}

Value Renderer::attribute(const Value& object, const std::string& name) {
  const auto* loop = std::get_if<std::shared_ptr<Loop>>(&object.data());
  return loop != nullptr ? loop_attribute(*loop, name) : attribute_of(object, name, budget_);
}

Value Renderer::loop_attribute(const std::shared_ptr<Loop>& loop, const std::string& name) {
  const size_t index = loop->index, length = loop->items->items.size();
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  if (name == "depth") return loop->depth;
  if (name == "depth0") return loop->depth - 1;
  if (name == "previtem")
    return index > 0 ? loop->items->items[index - 1] : Value(Undefined{"there is no previous item"});
  if (name == "nextitem") {
    return index + 1 < length ? loop->items->items[index + 1] : Value(Undefined{"there is no next item"});
  }
  auto function = std::make_shared<Callable>();
  function->name = name;
  if (name == "cycle") {
    function->call = [index](const Arguments& arguments) {
      if (arguments.positional.empty()) throw Error("no items for cycling given");
      return arguments.positional[index % arguments.positional.size()];
    };
  } else if (name == "changed") {
    function->call = [this, loop](const Arguments& arguments) -> Value {
      Value now = Value::list(arguments.positional, true);
      if (loop->asked_changed && Value::equal(loop->changed, now)) return false;
      if (!std::exchange(loop->asked_changed, true)) changed_loops_.push_back(loop);
      loop->changed = std::move(now);
      return true;
    };
  } else {
    return Undefined{"'loop' has no attribute '" + name.substr(0, 60) + "'"};
  }
  return Value(Value::Data(std::shared_ptr<const Callable>(std::move(function))));
}

Value Renderer::call(const Expression& node, const FramePtr& frame, const Value* caller) {
  const Value callee = evaluate(*node.children[0], frame);
  if (callee.is_undefined()) refuse_undefined(callee);
  if (callee.callable() == nullptr)
    throw Error(std::string("'") + callee.type_name() + "' object is not callable");
  Arguments given = arguments(node, frame);
  if (caller != nullptr) given.keywords.emplace_back("caller", *caller);
  budget_.spend(1);
  return callee.callable()->call(given);
}

// `body`: what the innermost filter of {% filter %} and {% set %} blocks is applied to.
Value Renderer::filter(const Expression& node, const FramePtr& frame, const Value* body) {
  Value value;
  if (node.children[0] == nullptr) {
    value = *body;
  } else if (body != nullptr) {
    value = filter(*node.children[0], frame, body);
  } else {
    value = evaluate(*node.children[0], frame);
  }
  return apply_filter(node.name, value, arguments(node, frame), budget_);
}

}  // namespace

Template::Template(std::string_view source) {
  if (source.size() > kMaxSourceBytes) throw Error("the chat template is longer than 1 MiB");
  if (!is_valid_utf8(source)) throw Error("the chat template is not UTF-8");
  tree_ = parse(source);
}

std::string Template::render(const Json& variables) const { return Renderer(variables).render(tree_); }

}  // namespace outrider::chat::jinja
