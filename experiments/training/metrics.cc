#include <mollify/experiments/training/metrics.h>

#include <mollify/engine/error.h>
#include <mollify/engine/file.h>
#include <mollify/experiments/json.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

using Interval = EpochMetrics::Interval;
using GradientNoise = EpochMetrics::GradientNoise;
constexpr const char *kDegree = "delta", *kDegreeBound = "delta_upper_bound";

ordered_json json_of(const Interval& i) { return {{"value", i.value}, {"low", i.low}, {"high", i.high}}; }

ordered_json json_of(const GradientNoise& noise) {
  ordered_json out = {{"c2", json_of(noise.c2)}};
  if (noise.degree) out[noise.is_bound ? kDegreeBound : kDegree] = json_of(*noise.degree);
  return out;
}

Interval interval_of(const ordered_json& json) { return {json.at("value"), json.at("low"), json.at("high")}; }

GradientNoise gradient_noise_of(const ordered_json& json) {
  GradientNoise noise{interval_of(json.at("c2")), {}, json.contains(kDegreeBound)};
  if (noise.is_bound || json.contains(kDegree))
    noise.degree = interval_of(json.at(noise.is_bound ? kDegreeBound : kDegree));
  return noise;
}

ordered_json json_of(const EpochMetrics& m) {
  ordered_json out = {
      {"epoch", m.epoch}, {"steps", m.steps}, {"train_loss", m.train.loss}, {"train_accuracy", m.train.accuracy}};
  if (m.validation) {
    out["validation_loss"] = m.validation->loss;
    out["validation_accuracy"] = m.validation->accuracy;
  }
  if (m.smoothed_test) {
    out["smoothed_test_loss"] = m.smoothed_test->loss;
    out["smoothed_test_accuracy"] = m.smoothed_test->accuracy;
  }
  if (m.noisy_test) {
    out["noisy_test_loss"] = m.noisy_test->loss;
    out["noisy_test_accuracy"] = m.noisy_test->accuracy;
  }
  for (const auto& [name, mean] : m.terms) out["terms"][name] = mean;
  out["test_loss"] = m.test.loss;
  out["test_accuracy"] = m.test.accuracy;
  out["learning_rate"] = m.learning_rate;
  if (m.course) out.update({{"batch", m.course->batch}, {"samples", m.course->samples}, {"degree", m.course->degree}});
  if (m.gradient_noise) out["gradient_noise"] = json_of(*m.gradient_noise);
  if (m.ball.epsilon) out["epsilon"] = *m.ball.epsilon;
  if (m.ball.certified_accuracy) out["certified_accuracy"] = *m.ball.certified_accuracy;
  if (m.active_weights) out["active_weights"] = *m.active_weights;
  if (m.pairs_left_out) out["pairs_left_out"] = *m.pairs_left_out;
  return out;
}

ordered_json json_of(const EpochTimings& t) {
  return {{"epoch", t.epoch},
          {"training_seconds", t.training_seconds},
          {"evaluation_seconds", t.evaluation_seconds},
          {"images_per_second", t.images_per_second},
          {"peak_memory_bytes", t.peak_memory_bytes}};
}

void read(const ordered_json& line, EpochMetrics& m) {
  m.epoch = line.at("epoch");
  m.steps = line.at("steps");
  m.train = {line.at("train_loss"), line.at("train_accuracy")};
  m.test = {line.at("test_loss"), line.at("test_accuracy")};
  m.learning_rate = line.at("learning_rate");
  if (line.contains("degree")) m.course = {line.at("batch"), line.at("samples"), line.at("degree")};
  if (line.contains("gradient_noise")) m.gradient_noise = gradient_noise_of(line.at("gradient_noise"));
  if (line.contains("epsilon")) m.ball.epsilon = line.at("epsilon").get<double>();
  if (line.contains("certified_accuracy")) m.ball.certified_accuracy = line.at("certified_accuracy").get<double>();
  if (line.contains("active_weights")) m.active_weights = line.at("active_weights").get<int64_t>();
  if (line.contains("pairs_left_out")) m.pairs_left_out = line.at("pairs_left_out").get<int64_t>();
  if (line.contains("smoothed_test_loss"))
    m.smoothed_test = Score{line.at("smoothed_test_loss"), line.at("smoothed_test_accuracy")};
  if (line.contains("noisy_test_loss"))
    m.noisy_test = Score{line.at("noisy_test_loss"), line.at("noisy_test_accuracy")};
  if (line.contains("terms"))
    for (const auto& [name, mean] : line.at("terms").items()) m.terms.emplace_back(name, mean.get<double>());
  if (line.contains("validation_loss"))
    m.validation = Score{line.at("validation_loss"), line.at("validation_accuracy")};
}

void read(const ordered_json& line, EpochTimings& t) {
  t = {line.at("epoch"), line.at("training_seconds"), line.at("evaluation_seconds"), line.at("images_per_second"),
       line.at("peak_memory_bytes")};
}

template <class Record>
void write_lines(const std::filesystem::path& path, const std::vector<Record>& records) {
  std::string text;
  for (const Record& record : records) text += json_of(record).dump() + "\n";
  write_text(path, text);
}

template <class Record>
std::vector<Record> read_lines(const std::filesystem::path& path, int64_t count) {
  std::istringstream lines(read_text(path));
  std::vector<Record> records;
  std::string line;
  try {
    while (static_cast<int64_t>(records.size()) < count && std::getline(lines, line)) {
      read(ordered_json::parse(line), records.emplace_back());
      require<FormatError>(records.back().epoch == static_cast<int64_t>(records.size()), "{}: line {} is of epoch {}",
                           path.string(), records.size(), records.back().epoch);
    }
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: line {}: {}", path.string(), records.size(), error.what()));
  }
  require<FormatError>(static_cast<int64_t>(records.size()) == count, "{}: {} epochs; the checkpoint is of {}",
                       path.string(), records.size(), count);
  return records;
}

}  // namespace

void write_text(const std::filesystem::path& path, const std::string& text) {
  const std::string_view part = text;
  write_bytes("write_text", path, {&part, 1});
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  require<FormatError>(file.is_open() && !file.bad(), "{}: cannot be read ({})", path.string(), std::strerror(errno));
  return text.str();
}

void write_history(const std::filesystem::path& folder, const History& history) {
  write_lines(folder / "metrics.jsonl", history.metrics);
  write_lines(folder / "timings.jsonl", history.timings);
}

void append_line(const std::filesystem::path& file, const std::string& line) {
  const std::string whole = line + "\n";
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const ssize_t written = descriptor < 0 ? -1 : write(descriptor, whole.data(), whole.size());
  const int reason = errno;
  if (descriptor >= 0) close(descriptor);
  if (written != static_cast<ssize_t>(whole.size()))
    throw WriteError(write_failure(file, written < 0 ? reason : ENOSPC));
}

std::vector<std::string> whole_lines(const std::filesystem::path& file) {
  const std::string text = read_text(file);
  const size_t whole = text.rfind('\n') + 1;  // 0 where there is no whole line
  std::istringstream lines(text.substr(0, whole));
  std::vector<std::string> out;
  for (std::string line; std::getline(lines, line);) out.push_back(line);
  if (whole < text.size()) write_text(file, text.substr(0, whole));
  return out;
}

History read_history(const std::filesystem::path& folder, int64_t epochs) {
  if (epochs == 0) return {};
  return {read_lines<EpochMetrics>(folder / "metrics.jsonl", epochs),
          read_lines<EpochTimings>(folder / "timings.jsonl", epochs)};
}

}  // namespace mollify::experiments
