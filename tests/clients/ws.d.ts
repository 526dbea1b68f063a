// The package comes without types; only its class is handed on.
declare module 'ws';
