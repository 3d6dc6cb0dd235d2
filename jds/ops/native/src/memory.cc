#include "memory.h"

#include <pthread.h>

namespace jds {
namespace {

struct Scratch {
  int64_t size = 0;
  std::unique_ptr<float[]> floats;
};

pthread_key_t make_key() {
  pthread_key_t key;
  if (pthread_key_create(&key, [](void* scratch) { delete static_cast<Scratch*>(scratch); }) != 0) {
    throw OutOfMemory(sizeof(Scratch));
  }
  return key;
}

// Not `thread_local`: where there is no memory for one, the C library ends the process.
Scratch& of_this_thread() {
  static const pthread_key_t key = make_key();
  if (void* const scratch = pthread_getspecific(key)) return *static_cast<Scratch*>(scratch);
  auto scratch = std::make_unique<Scratch>();
  if (pthread_setspecific(key, scratch.get()) != 0) throw OutOfMemory(sizeof(Scratch));
  return *scratch.release();
}

}  // namespace

float* thread_scratch(int64_t size) {
  Scratch& scratch = of_this_thread();
  if (scratch.size < size) {
    scratch = {};  // both at once may be more than there is
    scratch.floats = allocate<float>(size);
    scratch.size = size;
  }
  return scratch.floats.get();
}

}  // namespace jds
