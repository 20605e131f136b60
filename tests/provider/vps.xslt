<?xml version="1.0"?>
<!-- What a VPS needs of libvirt: a named tap, a seed that its kernel can read, room to grow. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output omit-xml-declaration="yes"/>
  <xsl:template match="@*|node()">
    <xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy>
  </xsl:template>

  <!-- The tap bears the address: counters and rules can be read by a person. -->
  <xsl:template match="/domain/devices/interface[1]">
    <xsl:copy>
      <xsl:apply-templates select="@*|node()[not(self::target)]"/>
      <target dev="vps-cb007111"/>
    </xsl:copy>
  </xsl:template>

  <!-- The seed as a read-only virtio disk: Debian's cloud kernel knows no SATA or IDE. -->
  <xsl:template match="/domain/devices/disk[@device='cdrom']">
    <disk type="{@type}" device="disk">
      <driver name="qemu" type="raw"/>
      <xsl:copy-of select="source"/>
      <target dev="vdz" bus="virtio"/>
      <readonly/>
    </disk>
  </xsl:template>

  <!-- Declared maxima, so that a larger plan is plugged in from outside (C4.7). -->
  <xsl:template match="/domain/vcpu">
    <vcpu placement="static" current="{.}">4</vcpu>
  </xsl:template>
  <xsl:template match="/domain/memory">
    <maxMemory slots="8" unit="MiB">4096</maxMemory>
    <xsl:copy-of select="."/>
  </xsl:template>
  <xsl:template match="/domain/cpu"/>
  <xsl:template match="/domain/devices">
    <cpu>
      <numa>
        <cell id="0" cpus="0-3" memory="{/domain/memory}" unit="{/domain/memory/@unit}"/>
      </numa>
    </cpu>
    <xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy>
  </xsl:template>
</xsl:stylesheet>