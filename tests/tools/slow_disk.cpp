// A disk that takes its time: every fsync waits a while first. faults.sh preloads it into the trainer.
#include <dlfcn.h>
#include <unistd.h>

extern "C" int fsync(int file) {
    static const auto real = reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, "fsync"));
    ::usleep(50'000);
    return real(file);
}
