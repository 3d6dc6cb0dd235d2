#include "convert.h"

#include "simd/scalar.h"

namespace jds {
namespace {

template <class T>
void widen_all(const void* from, int64_t size, float* to) {
  for (int64_t i = 0; i < size; ++i) to[i] = widen(static_cast<const T*>(from)[i]);
}

template <class T>
void narrow_all(const float* from, int64_t size, void* to) {
  for (int64_t i = 0; i < size; ++i) narrow(from[i], static_cast<T*>(to) + i);
}

}  // namespace

void to_floats(Type type, const void* from, int64_t size, float* to) {
  switch (type) {
    case Type::kFloat32: return widen_all<float>(from, size, to);
    case Type::kBFloat16: return widen_all<BFloat16>(from, size, to);
    case Type::kFloat16: return widen_all<Float16>(from, size, to);
  }
}

void from_floats(const float* from, int64_t size, Type type, void* to) {
  switch (type) {
    case Type::kFloat32: return narrow_all<float>(from, size, to);
    case Type::kBFloat16: return narrow_all<BFloat16>(from, size, to);
    case Type::kFloat16: return narrow_all<Float16>(from, size, to);
  }
}

}  // namespace jds
