#include "work.h"

#include <algorithm>

#include "convert.h"
#include "memory.h"

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

Floats::Floats(const Array& array) : data_(static_cast<const float*>(array.data)) {
  if (array.type == Type::kFloat32) return;
  converted_ = allocate<float>(array.size());
  to_floats(array.type, array.data, array.size(), converted_.get());
  data_ = converted_.get();
}

}  // namespace jds
