// Files that grow piece by piece where the disk is full: nothing torn, nothing lost.
#include "depthgrow/io/appended_file.hpp"

#include <sys/resource.h>

#include <csignal>

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

/// No file of this process may grow beyond `bytes` meanwhile: writes fail as on a full disk.
class room {
public:
    explicit room(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        (void)::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit less{bytes, before_.rlim_max};
        (void)::setrlimit(RLIMIT_FSIZE, &less);
    }
    ~room() {
        (void)::setrlimit(RLIMIT_FSIZE, &before_);
        (void)std::signal(SIGXFSZ, handler_);
    }

private:
    rlimit before_{};
    void (*handler_)(int);
};

}  // namespace

TEST_CASE("Pieces go to a file's end, of one that was there too", "[appended_file]") {
    const temporary::folder folder;
    folder.file("log", "one\n");
    dg::appended_file log(folder.path / "log");
    CHECK(log.size() == 4);
    CHECK(log.add("two\n"));
    CHECK(temporary::content_of(folder.path / "log") == "one\ntwo\n");
    CHECK(log.size() == 8);
    CHECK_THROWS_WITH(dg::appended_file(folder.path / "absent" / "log"),
                      Catch::Contains("absent/log: expected a file"));
}

TEST_CASE("Without room a piece waits, whole, and stands before the next one", "[appended_file]") {
    const temporary::folder folder;
    dg::appended_file log(folder.path / "log");
    CHECK(log.add("one\n"));
    {
        const room little(6);
        CHECK_FALSE(log.add("two\n"));  // two of its bytes had room
        CHECK_FALSE(log.problem().empty());
        CHECK(temporary::content_of(folder.path / "log") == "one\n");
        CHECK_THROWS_WITH(log.require_whole(), Catch::Contains("log: expected room for 4 bytes, found: "));
    }
    CHECK(log.add("three\n"));
    CHECK(log.problem().empty());
    CHECK(temporary::content_of(folder.path / "log") == "one\ntwo\nthree\n");
    log.require_whole();
}

TEST_CASE("A log that was renamed goes on in a new file", "[appended_file]") {
    const temporary::folder folder;
    dg::appended_file log(folder.path / "log");
    CHECK(log.add("one\n"));
    std::filesystem::rename(folder.path / "log", folder.path / "log.1");
    log.reopen();
    CHECK(log.size() == 0);
    CHECK(log.add("two\n"));
    CHECK(temporary::content_of(folder.path / "log.1") == "one\n");
    CHECK(temporary::content_of(folder.path / "log") == "two\n");
}
