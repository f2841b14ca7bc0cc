// How `mollify reproduce noise-tails` tells what came out: tables, claims, a CSV file and pictures.
#pragma once

#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/results.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mollify::experiments::noise_tails_study {

struct Findings {
  std::string heading, title;  // of the report and the pictures
  int64_t seeds;
  std::vector<int64_t> stages, batches;  // epochs after which the noise was measured, rising from 0; rising
  // By key. Of measured noise: kurtosis, median_kurtosis, raw_kurtosis and mixture_kurtosis (of normal noise with each
  // weight's own deviation, pooled likewise), hill, hill_error, normal_hill, c2, c2_error, squared_gradient, weights,
  // constant; series normal and empirical, quantiles.
  std::map<std::string, Results> results;
};
std::string training_key(int64_t seed);
std::string noise_key(int64_t stage, int64_t batch, int64_t seed);

Report report_of(const Findings& findings);
void write_csv(const Findings& findings, const std::filesystem::path& file);
std::string quantiles_picture(const Findings& findings);  // a panel for each stage, means over the seeds
std::string tails_picture(const Findings& findings);      // kurtosis and Hill's index over the batch

}  // namespace mollify::experiments::noise_tails_study
