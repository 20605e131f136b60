#!/bin/sh
# Finishes the OS image: boot loader files, network, nothing that two VPSs would share.
set -eu
root=$1

mkdir -p "$root/boot/grub/i386-pc"
cp "$root"/usr/lib/grub/i386-pc/*.mod "$root"/usr/lib/grub/i386-pc/*.lst \
    "$root"/usr/lib/grub/i386-pc/*.o "$root"/usr/lib/grub/i386-pc/*.img \
    "$root/boot/grub/i386-pc/"
# Later versions of GRUB go where this one is.
echo "grub-pc grub-pc/install_devices multiselect /dev/vda" | chroot "$root" debconf-set-selections

systemctl --root="$root" --quiet enable systemd-networkd.service serial-getty@ttyS0.service
# "Online" is decided by cloud-init itself; waiting for it makes each boot longer.
systemctl --root="$root" --quiet mask systemd-networkd-wait-online.service
for unit in e2scrub_all.timer e2scrub_reap.service systemd-pstore.service; do
    systemctl --root="$root" --quiet disable "$unit" || true
done
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

echo LANG=C.UTF-8 > "$root/etc/default/locale"

rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/var/lib/dbus/machine-id"
: > "$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log
