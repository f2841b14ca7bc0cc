#include <mollify/experiments/reproduce/report.h>

#include <mollify/engine/error.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>

namespace mollify::experiments {
namespace {

size_t width_of(const std::string& text) {  // UTF-8 characters
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

using Replacements = std::vector<std::pair<std::string_view, std::string_view>>;

// Where one begins, it stands for what it is replaced by; the first that does counts.
std::string replaced(std::string_view text, const Replacements& replacements) {
  std::string out;
  while (!text.empty()) {
    const auto found = std::find_if(replacements.begin(), replacements.end(),
                                    [&](const auto& replacement) { return text.starts_with(replacement.first); });
    const size_t length = found == replacements.end() ? 1 : found->first.size();
    out += found == replacements.end() ? text.substr(0, 1) : found->second;
    text.remove_prefix(length);
  }
  return out;
}

std::string latex_of(std::string_view text) {
  return replaced(text, {{"\\", "\\textbackslash{}"},
                         {"&", "\\&"},
                         {"%", "\\%"},
                         {"$", "\\$"},
                         {"#", "\\#"},
                         {"_", "\\_"},
                         {"{", "\\{"},
                         {"}", "\\}"},
                         {"~", "\\textasciitilde{}"},
                         {"^", "\\textasciicircum{}"},
                         {"±", "$\\pm$"},
                         {"σ", "$\\sigma$"},
                         {"δ", "$\\delta$"},
                         {"τ", "$\\tau$"},
                         {"ℓ", "$\\ell$"},
                         {"∞", "$\\infty$"},
                         {"²", "$^2$"},
                         {"Δ", "$\\Delta$"},
                         {"‖", "$\\|$"},
                         {"−", "$-$"},
                         {"·", "$\\cdot$"},
                         {"≤", "$\\le$"},
                         {"√", "$\\surd$"},
                         {"<", "$<$"},
                         {">", "$>$"}});
}

// Of the seeds that both have.
Summary difference_of(const Summary& a, const Summary& b) {
  std::vector<double> differences;
  for (size_t i = 0; i < std::min(a.numbers.size(), b.numbers.size()); ++i)
    differences.push_back(a.numbers[i] - b.numbers[i]);
  return summary_of(differences);
}

double standard_error(const Summary& difference) {
  return difference.deviation / std::sqrt(static_cast<double>(difference.count));
}

}  // namespace

Summary summary_of(const std::vector<double>& numbers) {
  double sum = 0, squares = 0;
  int64_t count = 0;
  for (double number : numbers)
    if (!std::isnan(number)) {
      sum += number;
      ++count;
    }
  const double mean = count > 0 ? sum / static_cast<double>(count) : NAN;
  for (double number : numbers)
    if (!std::isnan(number)) squares += (number - mean) * (number - mean);
  return {mean, count > 1 ? std::sqrt(squares / static_cast<double>(count - 1)) : NAN, count, numbers};
}

Summary scaled(const Summary& summary, double factor) {
  std::vector<double> numbers = summary.numbers;
  for (double& number : numbers) number *= factor;
  return summary_of(numbers);
}

double quantile(std::vector<double> numbers, double share) {
  if (numbers.empty()) return NAN;
  std::sort(numbers.begin(), numbers.end());
  const double place = share * static_cast<double>(numbers.size() - 1), part = place - std::floor(place);
  const size_t below = static_cast<size_t>(place);
  return part == 0 ? numbers[below] : numbers[below] + part * (numbers[below + 1] - numbers[below]);
}

std::string number_text(double number, const char* number_format) {
  char text[64];
  std::snprintf(text, sizeof text, number_format, number);
  return std::isnan(number) ? "-" : text;
}

std::string with_deviation(const Summary& summary, const char* number_format) {
  const std::string mean = number_text(summary.mean, number_format);
  return std::isnan(summary.deviation) ? mean : mean + " ± " + number_text(summary.deviation, number_format);
}

std::string csv_number(double number) { return std::isnan(number) ? "" : format("{}", number); }

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      line += (i == 0 ? "  " + row[i] + padding : "  " + padding + row[i]);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

std::string Table::markdown() const {
  std::string out;
  for (size_t r = 0; r < rows_.size(); ++r) {
    for (const std::string& cell : rows_[r]) out += "| " + replaced(cell, {{"|", "\\|"}}) + " ";
    out += "|\n";
    for (size_t i = 0; r == 0 && i < rows_[0].size(); ++i) out += i == 0 ? "| --- " : "| ---: ";
    if (r == 0) out += "|\n";
  }
  return out;
}

std::string Table::latex() const {
  std::string out = "\\begin{tabular}{l" + std::string(rows_[0].size() - 1, 'r') + "}\n\\toprule\n";
  for (size_t r = 0; r < rows_.size(); ++r) {
    for (size_t i = 0; i < rows_[r].size(); ++i) out += (i == 0 ? "" : " & ") + latex_of(rows_[r][i]);
    out += r == 0 ? " \\\\\n\\midrule\n" : " \\\\\n";
  }
  return out + "\\bottomrule\n\\end{tabular}\n";
}

// A table follows its paragraph, and a paragraph what was before it after an empty line.
std::string Report::text() const {
  std::string out;
  for (const auto& part : parts_) {
    if (const auto* table = std::get_if<Table>(&part))
      out += table->text();
    else
      out += (out.empty() ? "" : "\n") + std::get<std::string>(part);
  }
  return out;
}

std::string Report::markdown() const {
  std::string out;
  for (const auto& part : parts_) {
    out += out.empty() ? "" : "\n";
    if (const auto* table = std::get_if<Table>(&part))
      out += table->markdown();
    else
      out += replaced(std::get<std::string>(part), {{"<", "\\<"}, {"*", "\\*"}, {"_", "\\_"}});
  }
  return out;
}

std::string Report::latex() const {
  std::string out;
  for (const auto& part : parts_) {
    out += out.empty() ? "" : "\n";
    if (const auto* table = std::get_if<Table>(&part))
      out += "\\begin{center}\n" + table->latex() + "\\end{center}\n";
    else
      out += latex_of(std::get<std::string>(part));
  }
  return out;
}

const std::vector<std::string>& Report::files() {
  static const std::vector<std::string> names = {"table.txt", "table.md", "table.tex"};
  return names;
}

void Report::write(const std::filesystem::path& folder) const {
  write_text(folder / "table.txt", text());
  write_text(folder / "table.md", markdown());
  write_text(folder / "table.tex", latex());
}

const char* to_string(Verdict verdict) {
  return verdict == Verdict::holds ? "holds" : verdict == Verdict::fails ? "does not hold" : "undecided";
}

Verdict at_least(const Summary& a, const Summary& b) {
  const Summary difference = difference_of(a, b);
  if (difference.count < 2) return Verdict::undecided;
  if (difference.mean >= 0) return Verdict::holds;
  return difference.mean >= -2 * standard_error(difference) ? Verdict::undecided : Verdict::fails;
}

Verdict below(const Summary& a, const Summary& b) {
  const Verdict reverse = at_least(a, b);
  return reverse == Verdict::fails ? Verdict::holds : reverse == Verdict::holds ? Verdict::fails : Verdict::undecided;
}

std::string difference_text(const Summary& a, const Summary& b, const char* number_format) {
  const Summary difference = difference_of(a, b);
  std::string text = number_text(difference.mean, number_format);
  if (difference.mean >= 0) text = "+" + text;
  return difference.count < 2 ? text : text + " ± " + number_text(standard_error(difference), number_format);
}

}  // namespace mollify::experiments
