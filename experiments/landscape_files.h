// The files of `mollify landscape`: tables and pictures of losses around weights.
#pragma once

#include <mollify/smoothing/loss/landscape.h>

#include <filesystem>
#include <string>
#include <vector>

namespace mollify::experiments {

// line.csv and line.svg, of losses at w + t·u; t in units of the weights' norm. Throws WriteError.
void write_line(const std::filesystem::path& folder, const std::string& title, const std::vector<double>& t,
                const smoothing::Losses& line);
// plane.csv and plane.svg, of losses at w + t_i·u + t_j·v.
void write_plane(const std::filesystem::path& folder, const std::string& title, const std::vector<double>& t,
                 const smoothing::Losses& plane);

}  // namespace mollify::experiments
