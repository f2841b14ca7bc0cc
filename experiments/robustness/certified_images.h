// What randomized smoothing found of images: logs in Cohen's columns, and what they come to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace mollify::experiments {

struct CertifiedImage {
  int64_t index;
  int32_t label, predicted;  // an abstention is the class −1
  double radius;
  bool correct;
};

// A log: tabs between columns, of which the first line names idx, label, predict, radius and correct in any order.
std::vector<CertifiedImage> read_certified(const std::filesystem::path& file);  // throws FormatError, with the line

// How they are written: the first columns' names, an image's own, and a radius to six decimals, rounded down: what is
// written is certified.
inline constexpr const char* kCertifiedColumns = "idx\tlabel\tpredict\tradius\tcorrect\ttime";
std::string columns_of(const CertifiedImage& image, double seconds);
std::string radius_text(double radius);

int64_t count_abstained(const std::vector<CertifiedImage>& images);
// Of all images: an abstention is wrong. 0 without images.
double certified_accuracy(const std::vector<CertifiedImage>& images, double radius);
double average_certified_radius(const std::vector<CertifiedImage>& images);
// A share of images whose certificates are each wrong with probability alpha: what is right of it with probability
// 1 − rho, by Bernstein's inequality (Cohen, Rosenfeld & Kolter 2019, appendix B).
double high_probability(double share, int64_t images, double alpha, double rho);
// As Campbell, Finlay & Oberman (2020) count: of the images with a radius, those that are right and above it.
double accuracy_without_abstentions(const std::vector<CertifiedImage>& images, double radius);

}  // namespace mollify::experiments
