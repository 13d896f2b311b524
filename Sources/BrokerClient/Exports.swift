// A program that uses the client names these without importing the modules they live in.
@_exported public import struct BrokerWire.IDRange
@_exported public import enum BrokerWire.Limits
@_exported public import enum BrokerWire.OverflowPolicy
@_exported public import struct BrokerWire.ReasonCode
@_exported public import struct BrokerWire.SenderRecord
@_exported public import enum BrokerWire.Topic
@_exported public import struct LinuxIO.KernelError
@_exported public import struct LinuxIO.PeerCredentials
