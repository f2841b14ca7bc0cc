#include <mollify/experiments/robustness/radii.h>

#include <mollify/experiments/json.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/robustness/certified_images.h>
#include <mollify/experiments/run_folder.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <cstdio>
#include <functional>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;

using Images = std::vector<CertifiedImage>;

struct Log {
  std::string name;
  Images images;
};

double largest_radius(const std::vector<Log>& logs) {
  double largest = 0;
  for (const Log& log : logs)
    for (const CertifiedImage& image : log.images)
      if (image.correct) largest = std::max(largest, image.radius);
  return largest;
}

// 0, step, … up to the largest radius. A step of 0: a quarter, or as many as leave ten columns.
std::vector<double> radii_of(const std::vector<Log>& logs, double step) {
  const double largest = largest_radius(logs);
  if (step == 0)
    for (step = 0.25; largest > 10 * step;) step *= 2;
  std::vector<double> radii;
  for (int64_t i = 0; i == 0 || static_cast<double>(i) * step <= largest; ++i)
    radii.push_back(static_cast<double>(i) * step);
  return radii;
}

Table table_of(const std::vector<Log>& logs, const std::vector<double>& radii,
               const std::function<double(const Images&, double)>& share) {
  std::vector<std::string> heading = {"% certified at"};
  for (const double r : radii) heading.push_back(number_text(r, "%.4g"));
  Table table(heading);
  for (const Log& log : logs) {
    std::vector<std::string> row = {log.name};
    for (const double r : radii) row.push_back(number_text(100 * share(log.images, r), "%.1f"));
    table.add(row);
  }
  return table;
}

Report report_of(const RadiiCommand& command, const std::vector<Log>& logs) {
  const std::vector<double> radii = radii_of(logs, command.step);
  Report report;
  Table summary({"log", "images", "right", "abstained", "average radius"});
  for (const Log& log : logs) {
    const auto right = std::count_if(log.images.begin(), log.images.end(), [](const auto& i) { return i.correct; });
    summary.add({log.name, std::to_string(log.images.size()), std::to_string(right),
                 std::to_string(count_abstained(log.images)),
                 number_text(average_certified_radius(log.images), "%.4f")});
  }
  report.add(summary);
  report.add("Certified accuracy by l2 radius, of all images: an abstention is wrong.\n");
  report.add(table_of(logs, radii, certified_accuracy));
  if (command.alpha) {
    report.add(format("What holds of it with probability {}, where each certificate is wrong with probability {}.\n",
                      1 - command.rho, *command.alpha));
    report.add(table_of(logs, radii, [&](const Images& images, double r) {
      return high_probability(certified_accuracy(images, r), static_cast<int64_t>(images.size()), *command.alpha,
                              command.rho);
    }));
  }
  report.add("Of the images that have a radius only, as some papers count; it is not below the table above.\n");
  report.add(table_of(logs, radii, accuracy_without_abstentions));
  return report;
}

// Certified accuracy over the radius, a curve a log.
std::string picture(const std::vector<Log>& logs) {
  const double largest = largest_radius(logs);
  CurvePanel panel{.title = "certified accuracy, an abstention is wrong",
                   .x_title = "l2 radius",
                   .unit = " %",
                   .curves = {},
                   .low = 0,
                   .high = 100};
  for (size_t i = 0; i < logs.size(); ++i) {
    Curve curve{logs[i].name, i, {}, {}};
    for (int step = 0; step <= 300; ++step) {
      curve.x.push_back(largest * step / 300);
      curve.y.push_back(100 * certified_accuracy(logs[i].images, curve.x.back()));
    }
    panel.curves.push_back(std::move(curve));
  }
  return curves_svg("Randomized smoothing", {panel});
}

nlohmann::ordered_json json_of(const RadiiCommand& command, const std::vector<Log>& logs) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Log& log : logs) {
    nlohmann::ordered_json one = {{"log", log.name},
                                  {"images", log.images.size()},
                                  {"abstained", count_abstained(log.images)},
                                  {"average_certified_radius", average_certified_radius(log.images)},
                                  {"certified", nlohmann::ordered_json::array()}};
    for (const double r : radii_of(logs, command.step))
      one["certified"].push_back({{"radius", r}, {"share", certified_accuracy(log.images, r)}});
    all.push_back(one);
  }
  return all;
}

}  // namespace

int radii_command(const RadiiCommand& command) {
  require<UsageError>(!command.logs.empty(),
                      "mollify radii: LOG: not given; needs logs such as the certify.tsv of mollify certify");
  std::vector<Log> logs;
  for (const std::string& file : command.logs) logs.push_back({file, read_certified(file)});
  const Report report = report_of(command, logs);
  if (!command.out.empty()) {
    make_folder("mollify radii: --out", command.out);
    report.write(command.out);
    write_text(fs::path(command.out) / "radii.svg", picture(logs));
  }
  const std::string text = command.json ? json_of(command, logs).dump() + "\n" : report.text();
  std::printf("%s", text.c_str());
  return 0;
}

Options options_of(RadiiCommand& c) {
  return {{{"LOG", "Options", "logs of randomized smoothing, such as certify.tsv", "", false, true, "LOG..."},
           &c.logs,
           {}},
          {{"step", "Options", "between the radii of the tables", "0.25, or more for ten columns"}, &c.step, above(0)},
          {{"alpha", "Options", "how often a certificate of the logs may be wrong: adds what holds of all together",
            "no such table"},
           &c.alpha,
           Rule{.low = 0, .high = 1, .above_low = true, .below_high = true}},
          {{"rho", "Options", "how often that table may be wrong", nullptr},
           &c.rho,
           Rule{.low = 0, .high = 1, .above_low = true, .below_high = true}},
          {{"out", "Options", "folder for the tables as text, Markdown and LaTeX, and a picture", "none"}, &c.out, {}},
          {{"json", "Options", "print one JSON array", nullptr}, &c.json, {}}};
}

}  // namespace mollify::experiments
