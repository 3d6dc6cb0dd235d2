#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace jds {
namespace {

// About as long as a thread needs to be woken up.
constexpr int kSpins = 4000;

// Outlives the call: a thread of the pool may come when all is done, and only looks.
struct Shared {
  explicit Shared(int64_t tasks, const std::function<void(int64_t)>& task) : tasks(tasks), task(task) {}

  void work() {
    for (int64_t mine; (mine = next.fetch_add(1)) < tasks;) {
      task(mine);
      if (done.fetch_add(1) + 1 == tasks) {
        const std::lock_guard<std::mutex> lock(mutex);
        finished.notify_all();
      }
    }
  }

  void wait() {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (done.load(std::memory_order_acquire) == tasks) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [this] { return done.load() == tasks; });
  }

  const int64_t tasks;
  const std::function<void(int64_t)>& task;
  std::atomic<int64_t> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable finished;
};

}  // namespace

void parallel_for(Threads& threads, int64_t tasks, const std::function<void(int64_t)>& task) {
  const int64_t helpers = std::min(threads.count(), tasks) - 1;
  if (helpers <= 0) {
    for (int64_t mine = 0; mine < tasks; ++mine) task(mine);
    return;
  }
  const auto shared = std::make_shared<Shared>(tasks, task);
  for (int64_t helper = 0; helper < helpers; ++helper) threads.schedule([shared] { shared->work(); });
  shared->work();
  shared->wait();
}

}  // namespace jds
