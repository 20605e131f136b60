#!/bin/sh
# Makes of the extracted packages what the small guest boots: vmlinuz, initrd, boot.img, core.img.
set -eu
root=$1
files=$(dirname "$0")/tiny-1
release=$(ls "$root/lib/modules")
modules="lib/modules/$release"
boot=$root/boot/tiny
guest=$root/guest
mkdir -p "$boot" "$guest/$modules"

cp -R "$files/." "$guest"
for folder in bin dev proc run seed sys var/log var/run; do
    mkdir -p "$guest/$folder"
done
cp "$root/bin/busybox" "$guest/bin"
chroot "$guest" /bin/busybox --install -s /bin

# What the kernel has not built in, and what that needs.
chroot "$root" /bin/busybox depmod "$release"
for name in virtio_pci virtio_blk virtio_net isofs button evdev; do
    grep "/$name\.ko:" "$root/$modules/modules.dep"
done | tr -d ':' | tr ' ' '\n' | sort -u | while read -r module; do
    mkdir -p "$(dirname "$guest/$modules/$module")"
    cp "$root/$modules/$module" "$guest/$modules/$module"
done
cp "$root/$modules/modules.order" "$root/$modules/modules.builtin" "$guest/$modules/"
chroot "$guest" /bin/busybox depmod "$release"
chroot "$root" /bin/busybox sh -c \
    'cd /guest && busybox find . | busybox cpio -o -H newc | busybox gzip -1' >"$boot/initrd.img"

# Where GRUB can load it at once: for the place that the header asks for, 16 MiB, it moves 54 MB
# byte by byte, which takes more than two seconds under emulation. The kernel moves itself.
cp "$root/boot/vmlinuz-$release" "$boot/vmlinuz"
printf '\000\000\020\000\000\000\000\000' |
    dd of="$boot/vmlinuz" bs=1 seek=600 conv=notrunc 2>/dev/null # pref_address: 1 MiB

options='console=ttyS0 quiet nokaslr mitigations=off audit=0 cryptomgr.notests no_timer_check'
cat >"$root/early.cfg" <<END
set root=(hd0,msdos1)
linux /vmlinuz $options 8250.nr_uarts=1
initrd /initrd.img
boot
END
cp "$root/usr/lib/grub/i386-pc/boot.img" "$boot/boot.img"
chroot "$root" /usr/bin/grub-mkimage --format=i386-pc '--prefix=(hd0,msdos1)/' \
    --config=/early.cfg --output=/boot/tiny/core.img biosdisk part_msdos ext2 linux
