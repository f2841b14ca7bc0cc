// `mollify radii`: certified accuracy from logs of randomized smoothing, this program's or anyone's in Cohen's columns.
#pragma once

#include <mollify/experiments/options.h>

#include <filesystem>
#include <string>
#include <vector>

namespace mollify::experiments {

struct RadiiCommand {
  std::vector<std::string> logs;
  std::string out;
  double step = 0;
  std::optional<double> alpha;
  double rho = 0.001;
  bool json = false;
};
int radii_command(const RadiiCommand& command);

Options options_of(RadiiCommand& command);

// The rows of a log. Tabs between columns, of which the first line names idx, label, predict, radius and correct in any
// order; an abstention has the class −1.
struct CertifiedImage {
  int64_t index;
  int32_t label, predicted;
  double radius;
  bool correct;
};
std::vector<CertifiedImage> read_certified(const std::filesystem::path& file);  // throws FormatError, with the line

// Of all images: an abstention is wrong.
double certified_accuracy(const std::vector<CertifiedImage>& images, double radius);
double average_certified_radius(const std::vector<CertifiedImage>& images);
// A share of images whose certificates are each wrong with probability alpha: what is right of it with probability
// 1 − rho, by Bernstein's inequality (Cohen, Rosenfeld & Kolter 2019, appendix B).
double high_probability(double share, int64_t images, double alpha, double rho);
// As Campbell, Finlay & Oberman (2020) count: of the images with a radius, those that are right and above it.
double accuracy_without_abstentions(const std::vector<CertifiedImage>& images, double radius);

}  // namespace mollify::experiments
