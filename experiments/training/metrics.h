// The record of a run: metrics.jsonl with what a second run repeats to the last digit, timings.jsonl with what it does
// not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mollify::experiments {

struct Score {
  double loss = 0, accuracy = 0;
};

struct EpochMetrics {
  int64_t epoch = 0, steps = 0;  // epoch counts from 1; optimizer steps since the run's start
  Score train;                   // means over the epoch's batches, as they were trained on
  std::optional<Score> validation;
  Score test;
  std::optional<Score> smoothed_test;  // of the network smoothed with the epoch's noise, where that is trained
  double learning_rate = 0;            // of the epoch's last step
  struct Ball {
    std::optional<double> epsilon;             // radius in the epoch's last step, of objectives that have one
    std::optional<double> certified_accuracy;  // of the test images, where it is asked for
  } ball = {};
  std::optional<Score> noisy_test = {};  // of test images under one draw of noise each, where that is trained for
  std::vector<std::pair<std::string, double>> terms = {};  // of the loss, means over the epoch's images
  struct Course {
    int64_t batch = 0, samples = 0;  // images in a batch; seen since the run's start
    double degree = 0;               // δ/C = η/√b, at the epoch's last step
  };
  std::optional<Course> course = {};           // of runs with --degree
  struct Interval {
    double value, low, high;
  };
  // Of the weights at the epoch's end: C² of the gradients' noise, and SGD's degree of smoothing δ = ηC/√b at the
  // epoch's last rate and batch, which under momentum is an upper bound; 95 % intervals.
  struct GradientNoise {
    Interval c2;
    std::optional<Interval> degree;  // none for other optimizers
    bool is_bound = false;
  };
  std::optional<GradientNoise> gradient_noise = {};  // of runs with --noise-batches
  std::optional<int64_t> active_weights = {};  // of runs with a mask
  std::optional<int64_t> pairs_left_out = {};  // of the epoch, where gradients come from pairs of losses
};

struct EpochTimings {
  int64_t epoch = 0;
  double training_seconds = 0, evaluation_seconds = 0, images_per_second = 0;
  int64_t peak_memory_bytes = 0;  // of tensors
};

struct History {
  std::vector<EpochMetrics> metrics;
  std::vector<EpochTimings> timings;
};

// Writes a file under a temporary name and renames it. Throws WriteError naming the file.
void write_text(const std::filesystem::path& path, const std::string& text);
std::string read_text(const std::filesystem::path& path);  // throws FormatError

// One write of the line and its end: a kill leaves it out or cuts it off, and writers that end together do not mix.
// Throws WriteError.
void append_line(const std::filesystem::path& file, const std::string& line);
// What append_line wrote; a last line that a kill cut off is dropped, in the file too.
std::vector<std::string> whole_lines(const std::filesystem::path& file);

void write_history(const std::filesystem::path& folder, const History& history);
// The first `epochs` epochs; throws FormatError where the files have fewer.
History read_history(const std::filesystem::path& folder, int64_t epochs);

}  // namespace mollify::experiments
