#include "runtime/large_pages.h"

#if defined(__linux__)
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#endif

namespace jds {

#if defined(__linux__) && defined(MADV_HUGEPAGE)
namespace {

constexpr uintptr_t kPage = 2 << 20;

struct Range {
  uintptr_t begin, end;
};

// `procmap_query` of Linux 6.11 and later, answered in a microsecond. Declared here because a system's headers may be
// older.
struct MappingQuery {
  uint64_t size, flags, address, begin, end, access, page_size, offset, inode;
  uint32_t device_major, device_minor, name_size, build_id_size;
  uint64_t name, build_id;
};

// The mapping of an address, or an empty range if the system cannot say.
Range find_mapping(uintptr_t address) {
  static const int mappings = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  MappingQuery query = {};
  query.size = sizeof(query);
  query.address = address;
  if (ioctl(mappings, _IOWR('f', 17, MappingQuery), &query) != 0) return {0, 0};
  return {query.begin, query.end};
}

}  // namespace

void use_large_pages(const void* result, int64_t bytes) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(result), size = static_cast<uintptr_t>(bytes);
  if (size < 2 * kPage) return;
  Range range = find_mapping(address);
  if (range.begin == range.end) range = {(address + kPage - 1) / kPage * kPage, (address + size) / kPage * kPage};
  madvise(reinterpret_cast<void*>(range.begin), range.end - range.begin, MADV_HUGEPAGE);
}
#else
void use_large_pages(const void*, int64_t) {}
#endif

}  // namespace jds
