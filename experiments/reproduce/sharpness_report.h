// How `mollify reproduce sharpness` tells what came out: tables, rank correlations, claims, a CSV file and pictures.
#pragma once

#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/results.h>

#include <filesystem>
#include <string>
#include <vector>

namespace mollify::experiments {

// Numbers of a network, in the order of results.csv. NaN where it diverged or was not measured.
struct SharpnessNumber {
  const char *name, *title;
};
const std::vector<SharpnessNumber>& sharpness_numbers();

struct SharpnessNetwork {
  double rate;
  int64_t batch, seed;
  Results results;  // diverged, and of sharpness_numbers: all but by_root and by_batch, which are rate and batch alone

  double at(const std::string& number) const;
};

struct SharpnessFindings {
  std::string heading, title;
  double trained_below;  // training loss of networks that count as trained
  int64_t draws;         // of the bootstrap
  std::vector<SharpnessNetwork> networks;
};
Report report_of(const SharpnessFindings& findings);
std::vector<std::string> sharpness_files();  // that write_files writes
void write_files(const SharpnessFindings& findings, const std::filesystem::path& folder);

}  // namespace mollify::experiments
