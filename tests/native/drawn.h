// Random numbers, and arrays of them in memory that is guarded.
#ifndef JDS_DRAWN_H_
#define JDS_DRAWN_H_

#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "runtime/array.h"
#include "runtime/convert.h"

inline std::mt19937_64 rng;

inline int64_t draw(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(rng); }
inline bool chance(double p) { return std::bernoulli_distribution(p)(rng); }

// Memory with untouchable pages before and after.
class Guarded {
 public:
  explicit Guarded(size_t bytes) {
    const size_t page = sysconf(_SC_PAGESIZE), pages = (bytes + page - 1) / page + 2;
    size_ = pages * page;
    base_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_, page, PROT_NONE);
    mprotect(base_ + size_ - page, page, PROT_NONE);
    data_ = chance(0.7) ? base_ + size_ - page - bytes : base_ + page;
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  char* data() const { return data_; }

 private:
  char *base_, *data_;
  size_t size_;
};

// A random array, with its numbers as doubles.
struct Numbers {
  Numbers(jds::Type type, std::vector<int64_t> dims, bool is_result = false) : array{type, std::move(dims), nullptr} {
    const int64_t size = array.size();
    memory = std::make_unique<Guarded>(size * width());
    array.data = memory->data();
    std::vector<float> floats(size);
    for (float& number : floats) {
      number = is_result ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(draw(-64, 64)) / 32;
    }
    jds::from_floats(floats.data(), size, type, array.data);
  }
  int64_t width() const { return array.type == jds::Type::kFloat32 ? 4 : 2; }
  std::vector<double> read() const {
    std::vector<float> floats(array.size());
    jds::to_floats(array.type, array.data, array.size(), floats.data());
    return {floats.begin(), floats.end()};
  }

  jds::Array array;
  std::unique_ptr<Guarded> memory;
};

#endif  // JDS_DRAWN_H_
