#include "runtime/convert.h"

#include "kernels/simd/scalar.h"
#include "runtime/memory.h"

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

Floats::Floats(const Array& array) : data_(static_cast<const float*>(array.data)) {
  if (array.type == Type::kFloat32) return;
  converted_ = allocate<float>(array.size());
  to_floats(array.type, array.data, array.size(), converted_.get());
  data_ = converted_.get();
}

void add_parts(float* parts, int64_t count, const Array& out) {
  const int64_t size = out.size();
  for (int64_t part = 1; part < count; ++part) {
    for (int64_t i = 0; i < size; ++i) parts[i] += parts[part * size + i];
  }
  from_floats(parts, size, out.type, out.data);
}

}  // namespace jds
