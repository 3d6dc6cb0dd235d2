// Validation of what the operators are given.
#ifndef JDS_OPERATORS_VALIDATE_H_
#define JDS_OPERATORS_VALIDATE_H_

#include <cstdint>
#include <string>

#include "kernels/params.h"
#include "operators/operators.h"
#include "runtime/array.h"
#include "runtime/taps.h"

namespace jds {

// The error `what`, with the shapes of two operands and of the result.
Status invalid_shapes(const std::string& what, const Array& a, const Array& b, const Array& out);

// Checks geometry and sizes, and puts them together as axes.
Status make_axes(const Geometry& geometry, const int64_t* longs, const int64_t* shorts, const int64_t* moving,
                 Axis (&axes)[3]);

// Checks that the arrays have `features` numbers, and the activation, and puts them together as an epilogue.
Status make_epilogue(const EpilogueArrays& arrays, int64_t features, Epilogue& epilogue);

// Checks that an array, if there is one, has the type and shape of the result.
Status check_skip(const Array* skip, const Array& out);

// Checks the number of taps.
Status check_taps(const TapTable& table);

}  // namespace jds

#endif  // JDS_OPERATORS_VALIDATE_H_
