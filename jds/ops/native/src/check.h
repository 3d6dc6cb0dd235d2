// Checks of what the operations are given; what is wrong is said in words.
#ifndef JDS_CHECK_H_
#define JDS_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "convolve.h"
#include "problem.h"
#include "solve.h"

namespace jds {

int64_t product(const std::vector<int64_t>& sizes, size_t begin, size_t end);

std::string in_words(const std::vector<int64_t>& sizes);

// A message with the shapes of two operands and of the result.
std::string shapes(const char* what, const Array& a, const Array& b, const Array& out);

// The axes, if geometry and sizes make sense; a message if they do not.
std::string make_axes(const Geometry& geometry, const int64_t* longs, const int64_t* shorts, const int64_t* moving,
                      Axis (&axes)[3]);

// The epilogue, if its vectors have so many features; a message if they have not.
std::string make_epilogue(const Ending& ending, int64_t features, Epilogue& epilogue);

std::string too_many_taps(const Solution& solution);

}  // namespace jds

#endif  // JDS_CHECK_H_
