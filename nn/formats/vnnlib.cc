#include <mollify/nn/formats/vnnlib.h>

#include <mollify/engine/error.h>
#include <mollify/engine/file.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace mollify::nn::formats {
namespace {

constexpr int64_t kLongestFile = int64_t{1} << 28;
constexpr int kDeepest = 100;
constexpr int64_t kMostConstraints = int64_t{1} << 22;  // of a normal form while it is made
constexpr int64_t kMostNumbers = int64_t{1} << 25;      // of boxes and rows
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Bound { int32_t input; bool upper; double value; int32_t line; };
struct Row { int32_t plus, minus; double bound; };  // y[plus] − y[minus] ≤ bound; −1: that term is not there

struct Conjunction {
  std::vector<Bound> bounds;
  std::vector<Row> rows;

  int64_t weight() const { return 1 + static_cast<int64_t>(bounds.size() + rows.size()); }
  void append(const Conjunction& other) {
    bounds.insert(bounds.end(), other.bounds.begin(), other.bounds.end());
    rows.insert(rows.end(), other.rows.begin(), other.rows.end());
  }
};

// `common` and, unless there are none, one of the alternatives. Kept apart because `common` is mostly the input box, by
// far the larger.
struct NormalForm {
  Conjunction common;
  std::vector<Conjunction> alternatives;
  int64_t weight = 0;  // sum of the alternatives'
};

struct Term {
  enum Kind { input, output, number } kind;
  int32_t index = 0;
  double value = 0;
};

struct Token { std::string_view text; int32_t line; };  // no text: the end

using Lines = std::unordered_map<int32_t, int32_t>;  // where each variable is declared

class Parser {
 public:
  Parser(const std::string& name, std::string_view text) : name_(name), text_(text) {}

  Property parse() {
    NormalForm form;
    for (Token token = next(); !token.text.empty(); token = next()) {
      check(token, token.text == "(", "a command in parentheses");
      const Token command = next();
      check(command, command.text == "declare-const" || command.text == "assert", "declare-const or assert");
      if (command.text == "assert") conjoin(form, formula(1), command.line);
      else declare();
      close();
    }
    return property(form);
  }

 private:
  [[noreturn]] void fail(int32_t line, const std::string& what) const {
    throw FormatError(format("read_vnnlib: {}, line {}: {}", name_, line, what));
  }
  void check(const Token& token, bool good, const char* needed) const {
    if (!good)
      fail(token.line, format("{}; needs {}", token.text.empty() ? "the text ends" : excerpt(token.text), needed));
  }
  void check_weight(int64_t weight, int32_t line) const {
    if (weight > kMostConstraints)
      fail(line,
           format("the disjunctive normal form grows to {} constraints; needs at most {}", weight, kMostConstraints));
  }

  Token next() {
    constexpr std::string_view kSpace = " \t\r\n", kEnds = " \t\r\n();";
    while (at_ < text_.size() && (text_[at_] == ';' || kSpace.find(text_[at_]) != kSpace.npos)) {
      if (text_[at_] == ';') at_ = std::min(text_.find('\n', at_), text_.size());
      else line_ += text_[at_++] == '\n';
    }
    const size_t begin = at_;
    if (at_ < text_.size() && (text_[at_] == '(' || text_[at_] == ')')) ++at_;
    else at_ = std::min(text_.find_first_of(kEnds, at_), text_.size());
    return {text_.substr(begin, at_ - begin), line_};
  }
  void close() {
    const Token token = next();
    check(token, token.text == ")", "')'");
  }

  void declare() {
    const Token name = next();
    const std::pair<Term::Kind, int32_t> variable = variable_of(name);
    Lines& lines = variable.first == Term::input ? inputs_ : outputs_;
    if (!lines.emplace(variable.second, name.line).second)
      fail(name.line, format("{} is declared again; needs one declaration", name.text));
    const Token sort = next();
    check(sort, sort.text == "Real", "the sort Real");
  }

  // X_i or Y_j, declared or not.
  std::pair<Term::Kind, int32_t> variable_of(const Token& token) const {
    const std::string_view text = token.text, digits = text.substr(std::min<size_t>(2, text.size()));
    const char* const last = digits.data() + digits.size();
    int32_t index = 0;
    const auto [end, status] = std::from_chars(digits.data(), last, index);
    const bool indexed =
        status == std::errc() && end == last && digits[0] != '-' && (digits[0] != '0' || digits.size() == 1);
    check(token, indexed && (text.starts_with("X_") || text.starts_with("Y_")),
          "a variable X_i (input) or Y_j (output) with i and j from 0 on");
    return {text[0] == 'X' ? Term::input : Term::output, index};
  }

  double number_of(const Token& token) const {
    const std::optional<double> value = parse_number(token.text);
    check(token, value.has_value(), "a variable or a decimal number in a double's range");
    return *value;
  }

  Term term() {
    const Token token = next();
    if (token.text == "(") {  // (- 1.5), which is how SMT-LIB writes negative numbers
      const Token minus = next();
      check(minus, minus.text == "-", "'-' and a number: a term is X_i, Y_j, a number or (- number)");
      const double value = number_of(next());
      close();
      return {.kind = Term::number, .value = -value};
    }
    if (!token.text.starts_with("X_") && !token.text.starts_with("Y_"))
      return {.kind = Term::number, .value = number_of(token)};
    const auto [kind, index] = variable_of(token);
    if (!(kind == Term::input ? inputs_ : outputs_).contains(index))
      fail(token.line, format("{} is not declared; needs a declare-const before", token.text));
    return {.kind = kind, .index = index};
  }

  NormalForm formula(int depth) {
    const Token open = next();
    check(open, open.text == "(", "a formula in parentheses");
    if (depth > kDeepest) fail(open.line, format("formulas nest deeper than {}; needs at most that", kDeepest));
    const Token operation = next();
    if (operation.text == "<=" || operation.text == ">=") return comparison(operation);
    check(operation, operation.text == "and" || operation.text == "or", "<=, >=, and, or");
    NormalForm form;
    bool first = true;
    for (Token ahead = peek(); ahead.text != ")"; ahead = peek()) {
      NormalForm part = formula(depth + 1);
      if (first) form = std::move(part);
      else if (operation.text == "and") conjoin(form, std::move(part), ahead.line);
      else disjoin(form, std::move(part), ahead.line);
      first = false;
    }
    check(operation, !first, "at least one formula in it");
    close();
    return form;
  }
  Token peek() {
    const std::pair<size_t, int32_t> before{at_, line_};
    const Token token = next();
    std::tie(at_, line_) = before;
    return token;
  }

  NormalForm comparison(const Token& operation) {
    Term less = term(), greater = term();
    if (operation.text == ">=") std::swap(less, greater);
    close();
    const auto compares = [&](Term::Kind left, Term::Kind right) { return less.kind == left && greater.kind == right; };
    NormalForm form;
    Conjunction& out = form.common;
    if (compares(Term::input, Term::number)) out.bounds = {{less.index, true, greater.value, operation.line}};
    else if (compares(Term::number, Term::input)) out.bounds = {{greater.index, false, less.value, operation.line}};
    else if (compares(Term::output, Term::number)) out.rows = {{less.index, -1, greater.value}};
    else if (compares(Term::number, Term::output)) out.rows = {{-1, greater.index, -less.value}};
    else if (compares(Term::output, Term::output)) out.rows = {{less.index, greater.index, 0}};
    else
      fail(operation.line,
           "compares other things; needs an input and a number, an output and a number, or two outputs");
    return form;
  }

  void conjoin(NormalForm& form, NormalForm part, int32_t line) const {
    check_weight(form.common.weight() + part.common.weight(), line);
    form.common.append(part.common);
    if (part.alternatives.empty()) return;
    if (form.alternatives.empty()) {
      form.alternatives = std::move(part.alternatives);
      form.weight = part.weight;
      return;
    }
    // No factor is above kMostConstraints, so that no product overflows.
    form.weight = count(form) * part.weight + count(part) * form.weight;
    check_weight(form.weight, line);
    std::vector<Conjunction> products;
    for (const Conjunction& left : form.alternatives)
      for (const Conjunction& right : part.alternatives) products.emplace_back(left).append(right);
    form.alternatives = std::move(products);
  }

  void disjoin(NormalForm& form, NormalForm part, int32_t line) const {
    distribute(form, line);
    distribute(part, line);
    form.weight += part.weight;
    check_weight(form.weight, line);
    std::move(part.alternatives.begin(), part.alternatives.end(), std::back_inserter(form.alternatives));
  }

  // Moves what is common into the alternatives.
  void distribute(NormalForm& form, int32_t line) const {
    if (form.alternatives.empty()) {
      form.weight = form.common.weight();
      form.alternatives.push_back(std::exchange(form.common, {}));
    }
    if (form.common.weight() == 1) return;
    form.weight += count(form) * form.common.weight();
    check_weight(form.weight, line);
    for (Conjunction& alternative : form.alternatives) {
      Conjunction whole = form.common;
      whole.append(alternative);
      alternative = std::move(whole);
    }
    form.common = {};
  }
  static int64_t count(const NormalForm& form) { return static_cast<int64_t>(form.alternatives.size()); }

  // How many variables of a kind there are.
  int64_t count_variables(const Lines& lines, const char* prefix) const {
    if (lines.empty()) fail(line_, format("{}0 is not declared; needs at least one input and one output", prefix));
    for (int32_t i = 0; i < static_cast<int32_t>(lines.size()); ++i)
      if (!lines.contains(i))
        fail(line_, format("{}{} is not declared, but one after it is; needs all from 0 on", prefix, i));
    return static_cast<int64_t>(lines.size());
  }

  void apply(const std::vector<Bound>& bounds, Case& box) const {
    for (const Bound& bound : bounds) {
      double& side = (bound.upper ? box.upper : box.lower)[static_cast<size_t>(bound.input)];
      side = bound.upper ? std::min(side, bound.value) : std::max(side, bound.value);
    }
  }

  void check_box(const Case& box, const Conjunction& common, const Conjunction& alternative) const {
    for (size_t i = 0; i < box.lower.size(); ++i) {
      int32_t line = inputs_.at(static_cast<int32_t>(i));
      if (!std::isfinite(box.lower[i]) || !std::isfinite(box.upper[i]))
        fail(line, format("X_{} has no {} bound in some case; needs both", i,
                          std::isfinite(box.lower[i]) ? "upper" : "lower"));
      if (box.lower[i] <= box.upper[i]) continue;
      for (const Conjunction* part : {&common, &alternative})
        for (const Bound& bound : part->bounds)
          if (bound.input == static_cast<int32_t>(i)) line = bound.line;
      fail(line,
           format("X_{} has lower bound {} and upper bound {}; needs lower <= upper", i, box.lower[i], box.upper[i]));
    }
  }

  Property property(NormalForm& form) const {
    Property out{.inputs = count_variables(inputs_, "X_"), .outputs = count_variables(outputs_, "Y_"), .cases = {}};
    if (form.alternatives.empty()) form.alternatives.emplace_back();
    const size_t inputs = static_cast<size_t>(out.inputs);
    Case shared{.lower = std::vector<double>(inputs, -kInfinity),
                .upper = std::vector<double>(inputs, kInfinity),
                .unsafe = {}};
    apply(form.common.bounds, shared);
    const auto before = [&](size_t a, size_t b) {
      return std::tie(out.cases[a].lower, out.cases[a].upper) < std::tie(out.cases[b].lower, out.cases[b].upper);
    };
    std::set<size_t, decltype(before)> boxes(before);
    int64_t numbers = 0, shared_case = -1;
    for (const Conjunction& alternative : form.alternatives) {
      const bool uses_shared = alternative.bounds.empty();
      const int64_t rows = static_cast<int64_t>(form.common.rows.size() + alternative.rows.size());
      numbers += (uses_shared ? 0 : 2 * out.inputs) + rows * (out.outputs + 1);
      if (numbers > kMostNumbers)
        fail(line_, format("boxes and output constraints of more than {} numbers; needs at most that", kMostNumbers));
      int64_t number = uses_shared ? shared_case : -1;
      if (number < 0) {
        Case box = shared;
        apply(alternative.bounds, box);
        check_box(box, form.common, alternative);
        out.cases.push_back(std::move(box));
        const auto [place, added] = boxes.insert(out.cases.size() - 1);
        number = static_cast<int64_t>(*place);
        if (!added) out.cases.pop_back();
        if (uses_shared) shared_case = number;
      }
      out.cases[static_cast<size_t>(number)].unsafe.push_back(
          halfspaces(form.common, alternative, static_cast<size_t>(out.outputs)));
    }
    return out;
  }

  static Halfspaces halfspaces(const Conjunction& common, const Conjunction& alternative, size_t outputs) {
    Halfspaces out;
    for (const Conjunction* part : {&common, &alternative})
      for (const Row& row : part->rows) {
        const size_t begin = out.coefficients.size();
        out.coefficients.resize(begin + outputs);
        if (row.plus >= 0) out.coefficients[begin + static_cast<size_t>(row.plus)] += 1;
        if (row.minus >= 0) out.coefficients[begin + static_cast<size_t>(row.minus)] -= 1;
        out.bounds.push_back(row.bound);
      }
    return out;
  }

  const std::string& name_;
  std::string_view text_;
  size_t at_ = 0;
  int32_t line_ = 1;
  Lines inputs_, outputs_;
};

bool within(const Case& box, std::span<const double> x) {
  for (size_t i = 0; i < x.size(); ++i)
    if (!(box.lower[i] <= x[i] && x[i] <= box.upper[i])) return false;
  return true;
}

bool within(const Halfspaces& set, std::span<const double> y) {
  for (size_t row = 0; row < set.bounds.size(); ++row) {
    double sum = 0;  // of at most two terms ±y: its sign, and a single term, are exact
    for (size_t j = 0; j < y.size(); ++j)
      if (const double coefficient = set.coefficients[row * y.size() + j]; coefficient != 0) sum += coefficient * y[j];
    if (!(sum <= set.bounds[row])) return false;
  }
  return true;
}

}  // namespace

Property parse_vnnlib(const std::string& name, std::string_view text) { return Parser(name, text).parse(); }

Property read_vnnlib(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_bytes("read_vnnlib", path, kLongestFile);
  return parse_vnnlib(path.string(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

bool violates(const Property& property, std::span<const double> x, std::span<const double> y) {
  require(static_cast<int64_t>(x.size()) == property.inputs && static_cast<int64_t>(y.size()) == property.outputs,
          "violates: {} inputs and {} outputs; the property needs {} and {}", x.size(), y.size(), property.inputs,
          property.outputs);
  for (const Case& box : property.cases)
    if (within(box, x))
      for (const Halfspaces& set : box.unsafe)
        if (within(set, y)) return true;
  return false;
}

}  // namespace mollify::nn::formats
