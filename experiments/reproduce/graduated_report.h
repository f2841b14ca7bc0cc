// What `mollify reproduce graduated` compares, and how it tells what came out: tables, claims, CSV files and pictures.
#pragma once

#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/results.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mollify::experiments {

// A course of δ, in the options of `mollify train --degree`; `number` is its factor a fall or its power, 0 the default.
struct GraduatedCourse {
  const char *name, *title, *course;
  double batch_share, number;
};
// Of one first batch or another: the paper's four methods from the worst to the best, and the rate halved where the
// batch is doubled.
const std::vector<GraduatedCourse>& graduated_methods();
// By the learning rate alone, in the order of the losses that they are to end with.
const std::vector<GraduatedCourse>& graduated_decays();

std::string graduated_key(const std::string& course, int64_t batch, int64_t seed);  // of a training's cell
std::string descent_key(int64_t seed);                                              // of SGD beside descent on f_δ
inline constexpr double kDescentMultiples[] = {0, 1, 10};                           // of δ; 0 is descent on f

// Cells of trainings have the numbers diverged, updates and, of the final weights, train_loss, train_accuracy and
// test_accuracy; the series updates, samples, batch, rate, degree, train_loss (as it was trained on), test_loss and
// test_accuracy by epoch. Those of descent: see sgd_and_descent.
struct GraduatedFindings {
  std::string heading, title, descent_heading;
  int64_t seeds, batch, published_batch, epochs;
  std::map<std::string, Results> results;
};
Report report_of(const GraduatedFindings& findings);
std::vector<std::string> graduated_files();  // that write_files writes
void write_files(const GraduatedFindings& findings, const std::filesystem::path& folder);

}  // namespace mollify::experiments
