#include <mollify/experiments/reproduce/report.h>

#include <mollify/engine/error.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mollify::experiments {
namespace {

size_t width_of(const std::string& text) {  // UTF-8 characters
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
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

std::string TextTable::text() const {
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
