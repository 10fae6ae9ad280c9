#!/bin/bash
# Boots the systemd of DIRECTORY as a machine: boot.sh DIRECTORY NAME. It has processes, mounts and control groups of its
# own, and nothing of the machine that it runs on but the kernel and the network namespace that it is called in.
set -euo pipefail
directory=$1 name=$2

# In the control groups that we are in, a group of its own each; the groups it makes are below that.
enter_groups() {
  local own number kind path group
  own=$(cat /proc/self/cgroup)
  while IFS=: read -r number kind path; do
    # Nobody can be in a new group of this kind before it has been given processors, and systemd uses none.
    [ "$kind" != cpuset ] || continue
    group=/sys/fs/cgroup/${kind:-unified}
    group=${group/name=/}
    [ -d "$group" ] || group=/sys/fs/cgroup
    group=$group/${path#/}/$name
    mkdir -p "$group"
    echo $$ > "$group/cgroup.procs"
  done <<< "$own"
}

make_devices() {
  mount -t tmpfs -o mode=755 tmpfs dev
  local device
  for device in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
  done
  mknod -m 666 dev/tty c 5 0
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  mount -t tmpfs -o mode=1777 tmpfs dev/shm
}

# The kernel's settings and devices are this machine's too: they may be read.
show_kernel() {
  mount -t proc -o nosuid,nodev,noexec proc proc
  local path
  for path in proc/sys proc/sysrq-trigger; do
    [ -e "$path" ] || continue
    mount --bind "$path" "$path"
    mount -o remount,bind,ro "$path"
  done
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
}

show_groups() {
  if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    return
  fi
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  mkdir sys/fs/cgroup/{unified,systemd,memory,pids}
  mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd systemd sys/fs/cgroup/systemd
  mount -t cgroup -o memory memory sys/fs/cgroup/memory
  mount -t cgroup -o pids pids sys/fs/cgroup/pids
}

if [ "${3:-}" != inside ]; then
  enter_groups
  exec unshare --mount --pid --uts --ipc --cgroup --propagation private --fork --kill-child "$0" "$directory" "$name" inside
fi
hostname "$name"
mount --bind "$directory" "$directory"
cd "$directory"
show_kernel
make_devices
show_groups
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p old
pivot_root . old
cd /
umount -l /old
rmdir /old
# As the first process of the wrong machine, systemd would tidy up that one.
[ $$ = 1 ] && [ -e /etc/machine-of-a-test ]
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv \
  --bounding-set -sys_module,-sys_boot,-sys_time,-sys_rawio,-syslog,-wake_alarm,-audit_control,-audit_read,-audit_write \
  /lib/systemd/systemd --log-target=journal --unit=multi-user.target
