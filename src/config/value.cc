#include "config/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace outrider::config {
namespace {

constexpr int kMaxJsonDepth = 64;

std::string stripped(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

// Python's int(): a sign and single underscores between digits are allowed.
std::optional<int64_t> parse_int(const std::string& text) {
  std::string digits;
  const std::string word = stripped(text);
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '_' && i > 0 && i + 1 < word.size() &&
        std::isdigit(static_cast<unsigned char>(word[i - 1])) &&
        std::isdigit(static_cast<unsigned char>(word[i + 1]))) {
      continue;
    }
    if (i == 0 && word[i] == '+' && word.size() > 1 && word[1] != '-') continue;
    digits += word[i];
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  return value;
}

std::optional<double> parse_float(const std::string& text) {
  const std::string word = stripped(text);
  double value = 0;
  const char* begin = word.data() + (word.size() > 1 && word[0] == '+' && word[1] != '-' ? 1 : 0);
  const auto [end, error] = std::from_chars(begin, word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// 25.6k = 25600, 4K = 4096; capital letters are powers of 1024 and take whole numbers only.
std::optional<int64_t> parse_size(const std::string& text) {
  if (const auto value = parse_int(text)) return value;
  const std::string word = stripped(text);
  if (word.empty()) return std::nullopt;
  const std::string number = word.substr(0, word.size() - 1);
  const size_t small = std::string_view("kmgt").find(word.back());
  const size_t large = std::string_view("KMGT").find(word.back());
  if (small != std::string_view::npos) {
    const auto value = parse_float(number);
    if (!value) return std::nullopt;
    const double product = *value * std::pow(1000.0, static_cast<double>(small + 1));
    if (std::fabs(product) > 9e18) return std::nullopt;
    return static_cast<int64_t>(std::floor(product + 1e-6));
  }
  if (large != std::string_view::npos) {
    const auto value = parse_int(number);
    const int64_t factor = int64_t{1} << (10 * (large + 1));
    if (!value || std::abs(*value) > INT64_MAX / factor) return std::nullopt;
    return *value * factor;
  }
  return std::nullopt;
}

void check_range(const Option& option, double value, const std::string& text) {
  if (value >= option.min && value <= option.max) return;
  std::string range;
  if (!std::isfinite(option.max)) {
    range = "at least " + to_text(option.min);
  } else {
    const bool whole = option.kind != Kind::kFloat;
    const auto show = [&](double bound) {
      return whole ? std::to_string(static_cast<int64_t>(bound)) : to_text(bound);
    };
    range = show(option.min) + " to " + show(option.max);
  }
  refuse_value(option, text + " is out of range (" + range + ")");
}

Json parse_number(const Option& option, const std::string& word) {
  if (option.kind == Kind::kFloat) {
    const auto value = parse_float(word);
    if (!value) refuse_value(option, "invalid float value: '" + word + "'");
    check_range(option, *value, word);
    return *value;
  }
  const auto value = option.kind == Kind::kSize ? parse_size(word) : parse_int(word);
  if (!value) refuse_value(option, "invalid int value: '" + word + "'");
  check_range(option, static_cast<double>(*value), word);
  return *value;
}

Json parse_json_value(const Option& option, const std::string& word) {
  auto value = parse_json(word);
  if (!value) refuse_value(option, "Value " + word + " cannot be converted to JSON.");
  if (std::string_view(option.name) == "compilation-config" && value->is_number_integer()) {
    return Json{{"level", *value}};  // --compilation-config 3, as -O3
  }
  if (option.kind == Kind::kJson && !value->is_object()) {
    refuse_value(option, "expected a JSON object, got " + word);
  }
  if (option.kind == Kind::kJsonList &&
      (!value->is_array() ||
       std::any_of(value->begin(), value->end(), [](const Json& v) { return !v.is_string(); }))) {
    refuse_value(option, "expected a JSON list of strings, got " + word);
  }
  return *std::move(value);
}

Json parse_choice(const Option& option, const std::string& word) {
  if (std::find(option.choices.begin(), option.choices.end(), word) != option.choices.end()) return word;
  std::string list;
  for (const char* choice : option.choices) list += (list.empty() ? "'" : ", '") + std::string(choice) + "'";
  refuse_value(option, "invalid choice: '" + word + "' (choose from " + list + ")");
}

bool means_unset(const Option& option, const std::string& word) {
  if (std::string_view(option.name) == "max-model-len" && (word == "auto" || word == "-1")) return true;
  if (std::string_view(option.name) == "request-rate" && word == "inf") return true;
  if (word != "" && word != "None") return false;
  if (std::string_view(option.name) == "host") return true;  // all IPv4 addresses
  const Json initial = default_value(option);
  return initial.is_null() || initial == "" || (option.kind == Kind::kJson && initial.is_object());
}

}  // namespace

void refuse_value(const Option& option, const std::string& reason) {
  std::string names;
  for (const char* alias : option.aliases) names += "/" + std::string(alias);
  throw UsageError("argument --" + std::string(option.name) + names + ": " + reason);
}

std::optional<Json> parse_json(std::string_view text) {
  bool too_deep = false;
  const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxJsonDepth) too_deep = true;
    return !too_deep;
  };
  Json value = Json::parse(text, limit_depth, /*allow_exceptions=*/false);
  if (value.is_discarded() || too_deep) return std::nullopt;
  return value;
}

Json parse_value(const Option& option, const std::vector<std::string>& words) {
  if (option.kind == Kind::kStrings) {
    // An empty key or "None" is no value: `api-key:` in a file must not let in whoever says "None".
    Json list = Json::array();
    for (const std::string& word : words) {
      if (word != "" && word != "None") list.push_back(word);
    }
    return list;
  }
  if (option.kind == Kind::kInts) {
    Json list = Json::array();
    for (const std::string& word : words) list.push_back(parse_number(option, word));
    return list;
  }
  const std::string word = words.empty() ? "" : words[0];
  if (!words.empty() && means_unset(option, word)) return nullptr;
  switch (option.kind) {
    case Kind::kInt:
    case Kind::kSize:
    case Kind::kFloat:
      return parse_number(option, word);
    case Kind::kChoice:
      return parse_choice(option, word);
    case Kind::kJson:
    case Kind::kJsonList:
      return parse_json_value(option, word);
    case Kind::kOptionalString:
      return words.empty() ? Json(true) : Json(word);
    default:
      return word;
  }
}

Json default_value(const Option& option) {
  static const ServeOptions defaults;
  if (!std::holds_alternative<std::monostate>(option.field)) return get_field(option, defaults);
  if (option.initial == nullptr) return nullptr;
  if (option.kind == Kind::kFlag || option.kind == Kind::kBool)
    return std::string_view(option.initial) == "true";
  if (option.kind == Kind::kInt) return std::stoll(option.initial);
  if (option.kind == Kind::kFloat) return std::stod(option.initial);
  return option.initial;
}

Json get_field(const Option& option, const ServeOptions& options) {
  return std::visit(
      [&](auto field) -> Json {
        if constexpr (std::is_same_v<decltype(field), std::monostate>) {
          return nullptr;
        } else if constexpr (requires { (options.*field).has_value(); }) {
          return options.*field ? Json(*(options.*field)) : Json(nullptr);
        } else {
          return options.*field;
        }
      },
      option.field);
}

void set_field(const Option& option, const Json& value, ServeOptions& options) {
  std::visit(
      [&](auto field) {
        if constexpr (!std::is_same_v<decltype(field), std::monostate>) {
          using T = std::remove_reference_t<decltype(options.*field)>;
          if constexpr (std::is_same_v<T, Json>) {
            options.*field = value.is_null() ? default_value(option) : value;
          } else if constexpr (requires { (options.*field).has_value(); }) {
            using V = typename T::value_type;
            options.*field = value.is_null() ? T() : T(value.get<V>());
          } else {
            options.*field = value.is_null() ? T() : value.get<T>();
          }
        }
      },
      option.field);
}

bool is_switch(const Option& option) { return option.kind == Kind::kBool || option.kind == Kind::kFlag; }

std::string effect_warning(const Option& option, const Json& value) {
  if (option.tier == Tier::kWorks || option.tier == Tier::kAccept) return "";
  if (value.is_null() || value == default_value(option) || (value.is_structured() && value.empty()))
    return "";
  const std::string text = value.is_string() ? value.get<std::string>() : to_text(value);
  if (std::find(option.works.begin(), option.works.end(), text) != option.works.end()) return "";
  if (option.tier == Tier::kRefuse) {
    refuse_value(option, (is_switch(option) ? "" : text + " cannot be used: ") + option.why);
  }
  const std::string name = is_switch(option) && value == false ? "--no-" : "--";
  return name + option.name + (is_switch(option) ? "" : " " + text) + " has no effect: " + option.why;
}

std::string to_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace outrider::config
