#include "../../datasets/files.h"

#include <mollify/engine/error.h>
#include <mollify/engine/file.h>
#include <mollify/nn/formats/vnnlib.h>

#include <cmath>
#include <map>
#include <regex>

namespace mollify::nn::formats {
namespace {

namespace fs = std::filesystem;
using datasets::expect_error;
using datasets::TemporaryFolder;
using Values = std::vector<double>;

const std::string kTwo =
    "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n";
const std::string kBox = "(assert (and (<= X_0 1) (>= X_0 -1) (<= 0.25 X_1) (>= 5e-1 X_1)))\n";

Property parse(const std::string& text) { return parse_vnnlib("file", text); }
void expect_refused(const std::string& text, std::initializer_list<std::string> fragments) {
  expect_error<FormatError>([&] { parse(text); }, fragments);
}

TEST(Vnnlib, ReadsEveryKindOfComparison) {
  const Property property =
      parse("; a comment (with parentheses\n" + kTwo + kBox +
            "(assert (<= Y_0 Y_1)) (assert(>= Y_0 Y_1)); here too\n\t(assert (<= Y_0 0.1))\r\n(assert (>= Y_1 0.1))"
            "(assert (<= 2 Y_0))(assert (>= (- 3) Y_1))(assert (<= Y_1 Y_1))");
  EXPECT_EQ(property.inputs, 2);
  EXPECT_EQ(property.outputs, 2);
  ASSERT_EQ(property.cases.size(), 1u);
  const Case& only = property.cases[0];
  EXPECT_EQ(only.lower, (Values{-1, 0.25}));
  EXPECT_EQ(only.upper, (Values{1, 0.5}));
  ASSERT_EQ(only.unsafe.size(), 1u);
  EXPECT_EQ(only.unsafe[0].coefficients, (Values{1, -1, -1, 1, 1, 0, 0, -1, -1, 0, 0, 1, 0, 0}));
  EXPECT_EQ(only.unsafe[0].bounds, (Values{0, 0, 0.1, -0.1, -2, -3, 0}));
}

TEST(Vnnlib, ReadsTheTightestOfRepeatedBounds) {
  const Property property =
      parse(kTwo + kBox + "(assert (<= X_0 2)) (assert (>= X_0 -0.5)) (assert (<= X_1 0.30000000000000004))");
  EXPECT_EQ(property.cases[0].lower, (Values{-0.5, 0.25}));
  EXPECT_EQ(property.cases[0].upper, (Values{1, 0.30000000000000004}));
  EXPECT_EQ(property.cases[0].unsafe.size(), 1u) << "without output constraints the whole box is unsafe";
  EXPECT_EQ(property.cases[0].unsafe[0].rows(), 0);
}

TEST(Vnnlib, DistributesNestedFormulas) {
  const Property property =
      parse(kTwo + kBox +
            "(assert (or (<= Y_0 1) (and (or (<= Y_0 2) (<= Y_0 3)) (<= Y_1 4) (or (<= Y_1 5) (<= Y_1 6)))))"
            "(assert (or (<= Y_0 7) (or (<= Y_0 8) (and (<= Y_0 9)))))(assert (<= Y_0 10))");
  ASSERT_EQ(property.cases.size(), 1u);
  std::vector<Values> bounds;
  for (const Halfspaces& set : property.cases[0].unsafe) {
    bounds.push_back(set.bounds);
    EXPECT_EQ(set.coefficients.size(), 2 * set.bounds.size());
  }
  std::vector<Values> expected;  // the common constraint first, then products in the order of the text
  for (const Values& left : {Values{1}, Values{4, 2, 5}, Values{4, 2, 6}, Values{4, 3, 5}, Values{4, 3, 6}})
    for (const double right : {7., 8., 9.}) {
      Values all{10};
      all.insert(all.end(), left.begin(), left.end());
      all.push_back(right);
      expected.push_back(all);
    }
  EXPECT_EQ(bounds, expected);
}

TEST(Vnnlib, EqualBoxesShareACase) {
  const auto choice = [](const std::string& low, const std::string& y) {
    return "(and (<= X_0 1) (>= X_0 " + low + ") (<= X_1 1) (>= X_1 0) (<= Y_0 " + y + "))";
  };
  const Property property = parse(kTwo + "(assert (or " + choice("0", "1") + choice("0.5", "2") + choice("-0.0", "3") +
                                  choice("0.50", "4") + "))");
  ASSERT_EQ(property.cases.size(), 2u);
  EXPECT_EQ(property.cases[0].lower, (Values{0, 0}));
  EXPECT_EQ(property.cases[1].lower, (Values{0.5, 0}));
  EXPECT_EQ(property.cases[0].unsafe[1].bounds, Values{3});
  EXPECT_EQ(property.cases[1].unsafe[1].bounds, Values{4});
  const Property split =
      parse(kTwo + kBox + "(assert (or (and (<= X_0 0) (<= Y_0 1)) (and (>= X_0 0) (<= Y_0 2)) (<= Y_0 3)))");
  ASSERT_EQ(split.cases.size(), 3u);
  EXPECT_EQ(split.cases[0].upper, (Values{0, 0.5}));
  EXPECT_EQ(split.cases[1].lower, (Values{0, 0.25}));
  EXPECT_EQ(split.cases[2].upper, (Values{1, 0.5}));
}

TEST(Vnnlib, ReplaysWitnesses) {
  const double nan = std::nan(""), above = std::nextafter(0.5, 1);
  const Property property = parse(kTwo + kBox + "(assert (or (<= Y_0 Y_1) (and (>= Y_0 0.5) (<= Y_1 0.1))))");
  const auto sat = [&](Values x, Values y) { return violates(property, x, y); };
  EXPECT_TRUE(sat({-1, 0.25}, {0.3, 0.3}));
  EXPECT_TRUE(sat({1, 0.5}, {0.5, 0.1}));
  EXPECT_FALSE(sat({1, above}, {0.5, 0.1}));
  EXPECT_FALSE(sat({1, 0.5}, {0.4, std::nextafter(0.4, 0)}));
  EXPECT_FALSE(sat({1, 0.5}, {5e-324, 0}));
  EXPECT_FALSE(sat({nan, 0.5}, {0.5, 0.1}));
  EXPECT_FALSE(sat({1, 0.5}, {nan, 0.1}));
  EXPECT_THROW(sat({1}, {0.5, 0.1}), ShapeError);
  EXPECT_THROW(sat({1, 0.5}, {0.5}), ShapeError);
}

TEST(Vnnlib, SaysWhatIsWrongAndWhere) {
  const std::string good = kTwo + kBox;  // lines 1 to 5
  expect_refused("", {"file, line 1: X_0 is not declared"});
  expect_refused(kTwo, {"file, line 1: X_0 has no lower bound"});
  expect_refused(kTwo + "(assert (>= X_0 0))", {"line 1: X_0 has no upper bound"});
  expect_refused(good + "(assert (or (<= Y_0 1) (<= X_0 -2)))",
                 {"line 6: X_0 has lower bound -1 and upper bound -2; needs lower <= upper"});
  expect_refused("(declare-const X_0 Real)(assert (<= X_0 1))(assert (>= X_0 1))", {"Y_0 is not declared"});
  expect_refused("(declare-const X_0 Real)\n(declare-const X_2 Real)\n(declare-const Y_0 Real)",
                 {"line 3: X_1 is not declared"});
  expect_refused(good + "(declare-const X_1 Real)", {"line 6: X_1 is declared again"});
  for (const char* name : {"Z_0", "X_", "X_-1", "X_01", "X_1a", "X_99999999999", "X", "x_0", "()"})
    expect_refused("(declare-const " + std::string(name) + " Real)", {"line 1: '", "needs a variable X_i"});
  expect_refused("(declare-const X_0 Int)", {"'Int'; needs the sort Real"});
  expect_refused(good + "\n(check-sat)", {"line 7: 'check-sat'; needs declare-const or assert"});
  expect_refused(good + "assert", {"'assert'; needs a command in parentheses"});
  expect_refused(good + "(assert true)", {"'true'; needs a formula"});
  expect_refused(good + "(assert (< Y_0 1))", {"'<'; needs <=, >=, and, or"});
  expect_refused(good + "(assert (not (<= Y_0 1)))", {"'not'"});
  expect_refused(good + "(assert (or))", {"'or'; needs at least one formula"});
  expect_refused(good + "(assert (<= Y_0 Y_2))", {"line 6: Y_2 is not declared"});
  expect_refused(good + "(assert (<= Y_0 1 2))", {"'2'; needs ')'"});
  expect_refused(good + "(assert (<= Y_0 (+ 1 2)))", {"'+'; needs '-' and a number"});
  for (const char* pair : {"X_0 Y_0", "X_0 X_1", "1 2"})
    expect_refused(good + "(assert (<= " + pair + "))", {"line 6: compares other things"});
  for (const char* number :
       {"nan", "inf", "-inf", "1e400", "1e-400", "0x10", "1.5.2", "--1", "+1", "1e", "\x01\xFF", "#b1"})
    expect_refused(good + "(assert (<= Y_0 " + number + "))", {"line 6: '", "needs a variable or a decimal number"});
  expect_refused(good + "(assert (<= Y_0 1)", {"the text ends; needs ')'"});
  expect_refused(good + "(assert (<= Y_0 1)))", {"')'; needs a command"});
  expect_refused(good + "(assert (<= Y_0 " + std::string(100, 'z') + "))", {"'" + std::string(40, 'z') + "…'"});
}

TEST(Vnnlib, HostileNestingDoesNotGrow) {
  const std::string good = kTwo + kBox;
  const auto nested = [&](int depth) {
    std::string text = good + "(assert ";
    for (int i = 1; i < depth; ++i) text += i % 2 ? "(and " : "(or ";
    return text + "(<= Y_0 1)" + std::string(static_cast<size_t>(depth), ')');
  };
  EXPECT_EQ(parse(nested(100)).cases[0].unsafe.size(), 1u);
  expect_refused(nested(101), {"line 6: formulas nest deeper than 100"});
  expect_refused(good + std::string(1000000, '('), {"line 6"});
  const std::string choice = "(or (<= Y_0 1) (<= Y_1 1))";
  std::string product = "(and";
  for (int i = 0; i < 60; ++i) product += " " + choice;
  expect_refused(good + "(assert " + product + "))", {"line 6: the disjunctive normal form grows to"});
  std::string asserts = good, sum = good + "(assert (or";
  for (int i = 0; i < 60; ++i) asserts += "(assert " + choice + ")";
  expect_refused(asserts, {"line 6: the disjunctive normal form grows to"});
  std::string small = "(and";
  for (int i = 0; i < 14; ++i) small += choice;
  for (int i = 0; i < 100; ++i) sum += "\n" + small + ")";
  expect_refused(sum + "))", {"the disjunctive normal form grows to"});
  expect_refused("(declare-const X_2147483647 Real)(declare-const Y_0 Real)", {"X_0 is not declared"});
  std::string wide;
  for (int i = 0; i < 40000; ++i) wide += "(declare-const Y_" + std::to_string(i) + " Real)";
  wide += "(declare-const X_0 Real)(assert (<= X_0 1))(assert (>= X_0 1))";
  for (int i = 0; i < 1000; ++i) wide += "(assert (<= Y_0 Y_" + std::to_string(i) + "))";
  expect_refused(wide, {"more than 33554432 numbers"});
}

// Whatever happens to a good text, it parses to a whole property or is refused with FormatError.
TEST(Vnnlib, SurvivesDamage) {
  const std::string whole =
      kTwo + kBox + "(assert (or (and (<= X_0 0) (<= Y_0 1.5e-3)) (and (>= Y_0 Y_1) (>= (- 2) Y_1))))\n; end";
  int parsed = 0, refused = 0;
  const auto attempt = [&](const std::string& text) {
    try {
      const Property property = parse(text);
      ASSERT_FALSE(property.cases.empty());
      for (const Case& box : property.cases) {
        ASSERT_FALSE(box.unsafe.empty());
        ASSERT_EQ(box.lower.size(), static_cast<size_t>(property.inputs));
        for (size_t i = 0; i < box.lower.size(); ++i) ASSERT_LE(box.lower[i], box.upper[i]);
        for (const Halfspaces& set : box.unsafe)
          ASSERT_EQ(set.coefficients.size(), set.bounds.size() * static_cast<size_t>(property.outputs));
      }
      ++parsed;
    } catch (const FormatError&) {
      ++refused;
    }
  };
  for (size_t size = 0; size <= whole.size(); ++size) attempt(whole.substr(0, size));
  for (size_t at = 0; at < whole.size(); ++at)
    for (int byte = 0; byte < 256; ++byte) {
      std::string text = whole;
      text[at] = static_cast<char>(byte);
      attempt(text);
    }
  EXPECT_GT(parsed, 500);
  EXPECT_GT(refused, 10000);
}

TEST(Vnnlib, ReadsPlainAndPackedFiles) {
  const TemporaryFolder folder;
  const std::string text = kTwo + kBox + "(assert (<= Y_0 Y_1))";
  const datasets::Bytes bytes(text.begin(), text.end()), packed = datasets::gzip(bytes);
  EXPECT_EQ(read_vnnlib(folder.write("p.vnnlib", bytes)).cases[0].upper, (Values{1, 0.5}));
  EXPECT_EQ(read_vnnlib(folder.write("p.vnnlib.gz", packed)).cases[0].upper, (Values{1, 0.5}));
  for (size_t size = 2; size < packed.size(); ++size)
    expect_error<FormatError>(
        [&] {
          read_vnnlib(folder.write("cut.gz", {packed.begin(), packed.begin() + static_cast<int64_t>(size)}));
        },
        {"read_vnnlib: ", "cut.gz, byte " + std::to_string(size), "truncated"});
  expect_error<FormatError>([&] { read_vnnlib(folder / "absent"); }, {"read_vnnlib: ", "absent is no file"});
  expect_error<FormatError>([&] { read_vnnlib(folder.write("bad", {'x'})); }, {"read_vnnlib: ", "bad, line 1: 'x'"});
}

fs::path verification_data() {
  std::vector<fs::path> folders{"../shared/data", "../../shared/data"};
  if (const char* named = std::getenv("MOLLIFY_DATA")) folders.insert(folders.begin(), named);
  for (const fs::path& folder : folders)
    if (fs::exists(folder / "vnn")) return folder / "vnn";
  return {};
}

// What the competition's simple files say, by regular expressions: one box, and a disjunction of `and`s or none.
struct Plain {
  int64_t inputs = 0, outputs = 0;
  size_t disjuncts = 0;
  std::map<int64_t, double> lower, upper;
  Values coefficients, bounds;
};

Plain parse_plainly(const std::string& text) {
  Plain out;
  const auto count = [&](const char* pattern) {
    const std::regex wanted(pattern);
    return std::distance(std::sregex_iterator(text.begin(), text.end(), wanted), std::sregex_iterator());
  };
  out.inputs = count("declare-const X_");
  out.outputs = count("declare-const Y_");
  out.disjuncts = static_cast<size_t>(std::max<int64_t>(1, count("\\(and ")));
  const std::regex comparison("\\(([<>])= ([XY])_([0-9]+) (Y_)?([-0-9.e]+)\\)");
  for (std::sregex_iterator match(text.begin(), text.end(), comparison); match != std::sregex_iterator(); ++match) {
    const auto& found = *match;
    const int64_t index = std::stoll(found[3]);
    const bool less = found[1] == "<";
    if (found[2] == "X") {
      (less ? out.upper : out.lower)[index] = std::strtod(found[5].str().c_str(), nullptr);
      continue;
    }
    const double sign = less ? 1 : -1;
    Values row(static_cast<size_t>(out.outputs));
    row[static_cast<size_t>(index)] = sign;
    if (found[4].matched) row[static_cast<size_t>(std::stoll(found[5]))] = -sign;
    out.coefficients.insert(out.coefficients.end(), row.begin(), row.end());
    out.bounds.push_back(found[4].matched ? 0 : sign * std::strtod(found[5].str().c_str(), nullptr));
  }
  return out;
}

TEST(Vnnlib, CompetitionFiles) {
  const fs::path folder = verification_data();
  if (folder.empty()) GTEST_SKIP() << "no folder vnn in $MOLLIFY_DATA, ../shared/data or ../../shared/data";
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path path = entry.path();
    if (path.string().find(".vnnlib") == std::string::npos) continue;
    SCOPED_TRACE(path.string());
    const std::vector<uint8_t> bytes = read_bytes("test", path, int64_t{1} << 24);
    const Plain plain = parse_plainly({bytes.begin(), bytes.end()});
    const Property property = read_vnnlib(path);
    ++files;
    EXPECT_EQ(property.inputs, plain.inputs);
    EXPECT_EQ(property.outputs, plain.outputs);
    ASSERT_EQ(property.cases.size(), 1u);
    const Case& only = property.cases[0];
    for (int64_t i = 0; i < property.inputs; ++i) {
      EXPECT_EQ(only.lower[static_cast<size_t>(i)], plain.lower.at(i));
      EXPECT_EQ(only.upper[static_cast<size_t>(i)], plain.upper.at(i));
    }
    EXPECT_EQ(only.unsafe.size(), plain.disjuncts);
    Halfspaces all;
    for (const Halfspaces& set : only.unsafe) {
      all.coefficients.insert(all.coefficients.end(), set.coefficients.begin(), set.coefficients.end());
      all.bounds.insert(all.bounds.end(), set.bounds.begin(), set.bounds.end());
    }
    EXPECT_EQ(all.coefficients, plain.coefficients);
    EXPECT_EQ(all.bounds, plain.bounds);
  }
  EXPECT_GT(files, 0);
}

// A counterexample published for the ACAS Xu network 1_7, with the outputs that were computed for it.
TEST(Vnnlib, AcasXuWitness) {
  const fs::path path = verification_data() / "acasxu/prop_3.vnnlib";
  if (!fs::exists(path)) GTEST_SKIP() << "no acasxu/prop_3.vnnlib in the folder vnn of $MOLLIFY_DATA or ../shared/data";
  const Property property = read_vnnlib(path);
  const Values x{-0.30104199, 0, 0.49669015, 0.4, 0.4},
      y{-0.020311581, -0.018862747, -0.018985584, -0.017946711, -0.017920513};
  EXPECT_TRUE(violates(property, x, y));
  EXPECT_FALSE(violates(property, x, Values{y[1], y[0], y[2], y[3], y[4]}));
  EXPECT_FALSE(violates(property, Values{0, 0, 0.49669015, 0.4, 0.4}, y));
}

}  // namespace
}  // namespace mollify::nn::formats
