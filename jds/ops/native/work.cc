#include "work.h"

#include <algorithm>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "convert.h"

namespace jds {

int64_t number_of_tasks(int64_t products, int64_t units, int64_t threads) {
  if (threads < 2 || products < 2 * kProductsOfATask) return 1;
  return std::max<int64_t>(1, std::min({units, threads * kTasksOfAThread, products / kProductsOfATask}));
}

void add_parts(float* parts, int64_t count, const Array& out) {
  const int64_t size = out.size();
  for (int64_t part = 1; part < count; ++part) {
    for (int64_t i = 0; i < size; ++i) parts[i] += parts[part * size + i];
  }
  from_floats(parts, size, out.type, out.data);
}

float* thread_scratch(int64_t size) {
  static thread_local std::vector<float> buffer;
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(size);
  return buffer.data();
}

void use_large_pages(const Array& out) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 2 << 20;
  const uintptr_t bytes = out.size() * (out.type == Type::kFloat32 ? 4 : 2);
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(out.data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(out.data) + bytes) / kPage * kPage;
  if (bytes >= 2 * kPage && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

Floats::Floats(const Array& array) : data_(static_cast<const float*>(array.data)) {
  if (array.type == Type::kFloat32) return;
  converted_.resize(array.size());
  to_floats(array.type, array.data, array.size(), converted_.data());
  data_ = converted_.data();
}

}  // namespace jds
