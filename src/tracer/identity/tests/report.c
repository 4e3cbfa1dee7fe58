/* Says who it is, for the comparison of what an exec does: one number per line, in the order of the fields. */
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned long long set(int option, int operation) {
  unsigned long long out = 0;
  for (int c = 0; c <= 40; c++) {
    int there = operation ? prctl(option, operation, c, 0, 0) : prctl(option, c, 0, 0, 0);
    if (there == 1) out |= 1ull << c;
  }
  return out;
}

int main(void) {
  unsigned r, e, s;
  syscall(SYS_getresuid, &r, &e, &s);
  printf("%u\n%u\n%u\n%u\n", r, e, s, (unsigned)setfsuid(-1));
  syscall(SYS_getresgid, &r, &e, &s);
  printf("%u\n%u\n%u\n%u\n", r, e, s, (unsigned)setfsgid(-1));
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data)) return 1;
  printf("%llu\n", data[0].permitted | (unsigned long long)data[1].permitted << 32);
  printf("%llu\n", data[0].effective | (unsigned long long)data[1].effective << 32);
  printf("%llu\n", data[0].inheritable | (unsigned long long)data[1].inheritable << 32);
  printf("%llu\n%llu\n", set(PR_CAPBSET_READ, 0), set(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET));
  printf("%d\n%d\n", prctl(PR_GET_SECUREBITS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  printf("%lu\n", getauxval(AT_SECURE));
  gid_t groups[64];
  int count = getgroups(64, groups);
  for (int i = 0; i < count; i++) printf("%u\n", groups[i]);
  return 0;
}
