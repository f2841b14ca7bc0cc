// Numbers over seeds, claims that they speak for or against, and reports of both as text, Markdown and LaTeX.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
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

// The number below which a share of them lies, by linear interpolation; infinite ones count. NaN of none.
double quantile(std::vector<double> numbers, double share);

std::string with_deviation(const Summary& summary,
                           const char* number_format);  // "98.31 ± 0.12", "98.31" of one number, "-" of none
std::string number_text(double number, const char* number_format);              // "-" for NaN
std::string csv_number(double number);                                         // all digits; empty for NaN

// A heading and rows. Columns are aligned: the first to the left, others to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) : rows_{std::move(heading)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;  // counts characters, not bytes
  std::string markdown() const;
  std::string latex() const;  // a tabular with booktabs' lines

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Paragraphs and tables.
class Report {
 public:
  void add(std::string paragraph) { parts_.emplace_back(std::move(paragraph)); }  // lines, each with its end
  void add(Table table) { parts_.emplace_back(std::move(table)); }
  void add(const Report& report) { parts_.insert(parts_.end(), report.parts_.begin(), report.parts_.end()); }

  std::string text() const;
  std::string markdown() const;
  std::string latex() const;  // to be included in a document that uses booktabs and UTF-8

  // What write puts into a folder.
  static const std::vector<std::string>& files();
  void write(const std::filesystem::path& folder) const;  // throws WriteError

 private:
  std::vector<std::variant<std::string, Table>> parts_;
};

// What differences over seeds say. Methods share their weights and order of images for a seed, so that the differences
// are taken seed by seed: e is the standard error of their mean. With fewer than two seeds there is none, and no
// verdict.
enum class Verdict { holds, undecided, fails };
const char* to_string(Verdict verdict);
Verdict at_least(const Summary& a, const Summary& b);  // holds: a ≥ b; fails: a < b − 2e
Verdict below(const Summary& a, const Summary& b);     // holds: a < b − 2e; fails: a ≥ b
std::string difference_text(const Summary& a, const Summary& b,
                            const char* number_format);  // "+0.21 ± 0.10": a − b and its standard error

}  // namespace mollify::experiments
