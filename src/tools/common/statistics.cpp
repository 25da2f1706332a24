#include "statistics.h"

#include <algorithm>
#include <cmath>

namespace pccl::tools {

double mean(const std::vector<double>& sample) {
    double sum = 0;
    for (double value : sample) {
        sum += value;
    }
    return sample.empty() ? 0 : sum / static_cast<double>(sample.size());
}

double median(std::vector<double> sample) {
    if (sample.empty()) {
        return 0;
    }
    std::sort(sample.begin(), sample.end());
    const size_t middle = sample.size() / 2;
    return sample.size() % 2 == 1 ? sample[middle] : (sample[middle - 1] + sample[middle]) / 2;
}

double percentile(std::vector<double> sample, double share) {
    if (sample.empty()) {
        return 0;
    }
    std::sort(sample.begin(), sample.end());
    const double rank = std::ceil(share * static_cast<double>(sample.size()));
    const size_t index = rank < 1 ? 0 : static_cast<size_t>(rank) - 1;
    return sample[std::min(index, sample.size() - 1)];
}

double variation_percent(const std::vector<double>& sample) {
    const double centre = mean(sample);
    if (sample.size() < 2 || centre == 0) {
        return 0;
    }
    double squares = 0;
    for (double value : sample) {
        squares += (value - centre) * (value - centre);
    }
    return 100 * std::sqrt(squares / static_cast<double>(sample.size() - 1)) / centre;
}

}  // namespace pccl::tools
