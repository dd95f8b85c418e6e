#!/bin/busybox sh
# The guest's first process, in its initramfs: finds the host's files and its own disk, and makes a root of both.
/bin/busybox --install -s /bin
ln -s /bin/busybox /sbin/modprobe
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci virtio_blk 9pnet_virtio 9p ext4; do modprobe $module; done

# A root of symbolic links into the host's files: nothing is copied, and no overlay is needed, which is under test.
mount -t tmpfs -o mode=755 root /nr
mkdir -p /nr/host /nr/proc /nr/sys /nr/dev /nr/run /nr/tmp /nr/root /nr/var /nr/usr /nr/usr/lib
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /nr/host
link() {
  for path in /nr/host"$1"/*; do
    name=${path##*/}
    [ -e "/nr$1/$name" ] || [ -L "/nr$1/$name" ] && continue
    if [ -L "$path" ]; then cp -P "$path" "/nr$1/$name"; else ln -s "/host$1/$name" "/nr$1/$name"; fi
  done
}
link ""
link /usr
link /usr/lib
chmod 1777 /nr/tmp
mount -t ext4 /dev/vda /nr/var
mkdir -p /nr/var/lib /nr/var/tmp /nr/var/log
chmod 1777 /nr/var/tmp
link /var/lib
link /var

task=$(sed -n 's/.* task=\([^ ]*\).*/\1/p' /proc/cmdline)
cp "/nr/host$task" /nr/run/task
umount /dev /sys /proc
guest=$(sed -n "s/^project=//p" /nr/run/task)/scripts/vm/guest.sh
exec switch_root /nr /bin/bash "$guest"
