// Memory to work in. If the system has none, an exception says how many bytes were requested.
#ifndef JDS_RUNTIME_MEMORY_H_
#define JDS_RUNTIME_MEMORY_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <new>

namespace jds {

class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(int64_t bytes) : bytes_(bytes) {}
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_;
};

// Uninitialized memory for `count` numbers.
template <class T>
std::unique_ptr<T[]> allocate(int64_t count) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kBytes = sizeof(T);
  T* const room = count <= kMost / kBytes ? new (std::nothrow) T[static_cast<size_t>(count)] : nullptr;
  if (!room) throw OutOfMemory(count <= kMost / kBytes ? count * kBytes : kMost);
  return std::unique_ptr<T[]>(room);
}

}  // namespace jds

#endif  // JDS_RUNTIME_MEMORY_H_
