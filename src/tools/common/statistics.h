// Order statistics of small samples. Pure functions; an empty sample gives 0.
#pragma once

#include <vector>

namespace pccl::tools {

double mean(const std::vector<double>& sample);
double median(std::vector<double> sample);
/// The smallest value that at least the given share (0 to 1) of the sample does not exceed.
double percentile(std::vector<double> sample, double share);
/// Standard deviation over mean, in percent.
double variation_percent(const std::vector<double>& sample);

}  // namespace pccl::tools
