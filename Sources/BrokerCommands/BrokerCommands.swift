// BrokerCommands
