#!/bin/sh
# Makes of the extracted packages what the guest boots: result/vmlinuz and result/initrd.img.
set -eu
root=$1
release=$(ls "$root/lib/modules")
modules="lib/modules/$release"
kept=$root/kept
result=$root/result
mkdir -p "$kept" "$result"
mv "$root/boot/vmlinuz-$release" "$result/vmlinuz"

# What the kernel has not built in, and what that needs.
chroot "$root" /bin/busybox depmod "$release"
for name in virtio_pci virtio_blk virtio_net dm-mod; do
    grep "/$name\.ko:" "$root/$modules/modules.dep"
done | tr -d ':' | tr ' ' '\n' | sort -u | while read -r module; do
    mkdir -p "$(dirname "$kept/$modules/$module")"
    mv "$root/$modules/$module" "$kept/$modules/$module"
done
mv "$root/$modules/modules.order" "$root/$modules/modules.builtin" "$kept/$modules/"
rm -rf "${root:?}/lib/modules" "${root:?}/boot"
mv "$kept/lib/modules" "$root/lib/modules"
rmdir "$kept/lib" "$kept"
for driver in interface network nodedev nwfilter; do # of which it has no use
    rm "$root"/usr/lib/*/libvirt/connection-driver/libvirt_driver_$driver.so
done
rm -rf "${root:?}/usr/share" "$root/var/lib/apt" "$root/var/cache" "$root/var/lib/dpkg"

mkdir -p "$root/proc" "$root/sys" "$root/run" "$root/root" "$root/var/log"
ln -s /run "$root/var/run"
chroot "$root" /bin/busybox depmod "$release"
# Only the names that no package brings, in whichever folder.
for name in $(chroot "$root" /bin/busybox --list); do
    for folder in bin sbin usr/bin usr/sbin; do
        [ -e "$root/$folder/$name" ] || [ -L "$root/$folder/$name" ] && continue 2
    done
    ln -s busybox "$root/bin/$name"
done
# Not compressed: that would take longer to unpack under emulation than to load.
cd "$root"
find . -path ./result -prune -o -print | ./bin/busybox cpio -o -H newc >"$result/initrd.img"
