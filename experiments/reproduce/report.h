// Numbers over seeds, as tables and CSV files show them, and claims that they speak for or against.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mollify::experiments {

// Mean and standard deviation (n − 1) of the numbers that are not NaN; the deviation of one number, and the mean of
// none, is NaN.
struct Summary {
  double mean, deviation;
  int64_t count;
  std::vector<double> numbers;  // all, in the order of the seeds
};
Summary summary_of(const std::vector<double>& numbers);
Summary scaled(const Summary& summary, double factor);

std::string with_deviation(const Summary& summary,
                           const char* number_format);  // "98.31 ± 0.12", "98.31" of one number, "-" of none
std::string number_text(double number, const char* number_format);              // "-" for NaN
std::string csv_number(double number);                                         // all digits; empty for NaN

// Columns aligned: the first to the left, others to the right. Counts characters, not bytes.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> heading) : rows_{std::move(heading)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// What differences over seeds say. Methods share their weights and order of images for a seed, so that the differences
// are taken seed by seed:
// e is the standard error of their mean. With fewer than two seeds there is none, and no verdict.
enum class Verdict { holds, undecided, fails };
const char* to_string(Verdict verdict);
Verdict at_least(const Summary& a, const Summary& b);  // holds: a ≥ b; fails: a < b − 2e
Verdict below(const Summary& a, const Summary& b);     // holds: a < b − 2e; fails: a ≥ b
std::string difference_text(const Summary& a, const Summary& b,
                            const char* number_format);  // "+0.21 ± 0.10": a − b and its standard error

}  // namespace mollify::experiments
